import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { spiHex, spiWords } from '../../../../services/api/spi.ts';
import { ShardRecords } from '../../../../services/node/records/records.ts';
import { type Damaged, writeAgain } from '../../../../services/node/shard/repair.ts';
import { State } from '../../../../workers/liveness/peers.ts';
import { MessageReader } from '../../../../workers/sa/message-reader.ts';

type Sent = Parameters<Damaged['task']['send']>[0];

/**
 * A shard with an SA for each of these states, in order, and a Redis that counts some as dead and holds SAs of its own.
 * `given`: whose verdicts are this owner's.
 */
async function repaired(
  states: readonly State[],
  redis: { dead: readonly number[] },
  given: readonly number[],
  meanwhile: (records: ShardRecords) => void = () => {},
) {
  const records = new ShardRecords();
  const spis = states.map((_, n) => {
    const id = { initiatorSpi: BigInt(n + 1), responderSpi: 7n };
    const message = toBinary(SaSchema, create(SaSchema, { id, peerId: `p${n}` }));
    records.put(spiWords(id), 1, 0, new MessageReader(message));
    return spiHex(id);
  });
  const sent: Sent[] = [];
  const written: string[] = [];
  const names: string[] = [];
  const removed: string[] = [];
  let revived: readonly string[] = [];
  await writeAgain({
    path: undefined,
    records,
    store: {
      writeSas: async (sas) => {
        written.push(...sas.map(({ spi }) => spi));
        // A client may send it later.
        meanwhile(records);
        names.push(...sas.map(({ sa }) => fromBinary(SaSchema, sa).peerId));
      },
      removeSas: async (gone) => void removed.push(...gone),
      readSpis: async () => [...spis, 'ff'.repeat(16)],
      writePath: async () => {},
      readDead: async () => new Set([...redis.dead.map((n) => spis[n]!), 'ee'.repeat(16)]),
    },
    task: {
      ask: (async (type: string, handles: readonly number[] = []) =>
        handles.map((handle) =>
          type === 'sealedKeys' ? undefined : { state: states[handle] },
        )) as Damaged['task']['ask'],
      send: (message) => sent.push(message),
    },
    verdicts: {
      gave: (spi) => given.some((n) => spis[n] === spi),
      writeAgain: (alive) => {
        revived = alive;
      },
    },
  });
  return { spis, sent, written, names, removed, revived };
}

test('Redis holds again what the owner holds, and no more', async () => {
  const { spis, written, removed, sent } = await repaired([State.ALIVE, State.ALIVE], { dead: [] }, []);
  assert.deepEqual(written, spis);
  assert.deepEqual(removed, ['ff'.repeat(16)]);
  assert.deepEqual(sent, []);
});

test('what is on its way to Redis stays what it was', async () => {
  const { names } = await repaired([State.ALIVE, State.ALIVE], { dead: [] }, [], (records) => {
    for (const handle of [...records.handles()]) records.remove(handle);
  });
  assert.deepEqual(names, ['p0', 'p1']);
});

test('an SA that Redis wrongly counts as dead is revived', async () => {
  const { spis, revived } = await repaired([State.ALIVE, State.DEAD], { dead: [0, 1] }, []);
  assert.deepEqual(revived, [spis[0]]);
});

test("a former owner's verdict that is lost is found anew; this owner's is not, nor one that Redis still has", async () => {
  const { sent } = await repaired([State.DEAD, State.DEAD, State.DEAD, State.ALIVE], { dead: [2] }, [1]);
  assert.deepEqual(sent, [
    { type: 'hold', handles: [0] },
    { type: 'endHold', handles: [0], asked: false },
  ]);
});
