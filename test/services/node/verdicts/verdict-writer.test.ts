import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { VerdictsSchema } from '../../../../proto/gen/dpd/v1/headend_pb.js';
import { Action, SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { spiHex, spiWords } from '../../../../services/api/spi.ts';
import { systemClock } from '../../../../services/base/clock.ts';
import { createLogger } from '../../../../services/base/log.ts';
import { ShardRecords } from '../../../../services/node/records/records.ts';
import { Decision } from '../../../../services/node/verdicts/decision.ts';
import { type VerdictContext, VerdictWriter } from '../../../../services/node/verdicts/verdict-writer.ts';
import { SuspicionTraces } from '../../../../services/telemetry/traces.ts';
import { MessageReader } from '../../../../workers/sa/message-reader.ts';
import { VerdictRows } from '../../../../workers/shard/verdict-rows.ts';
import { eventually } from '../../../eventually.ts';
import { privateRedis } from '../../../private-redis.ts';

type Written = { readonly ids: readonly string[]; readonly peers: readonly string[] };

const idOf = (n: number) => ({ initiatorSpi: BigInt(n + 1), responderSpi: 7n });
const spiOf = (n: number) => spiHex(idOf(n));

/** A writer of verdicts on `count` SAs, to a log that takes each batch when the test says so. */
async function rig(t: Parameters<typeof privateRedis>[0], count: number, asked = 0) {
  const records = new ShardRecords();
  const rows = new VerdictRows();
  for (let n = 0; n < count; n++) {
    const message = create(SaSchema, { id: idOf(n), peerId: `p${n}`, endpoints: [{ address: '127.0.0.1' }] });
    const handle = records.put(spiWords(idOf(n)), 1, 0, new MessageReader(toBinary(SaSchema, message)));
    const [lastEvidenceUnix, firstProbeUnix, earliestUnix, decidedUnix] = [1, 2, 3, 4];
    rows.add({
      handle,
      lastEvidenceUnix,
      firstProbeUnix,
      probesSent: 3,
      earliestUnix,
      decidedUnix,
      blindMs: 0,
      asked,
    });
  }
  const cells = rows.drain();
  /** Batches that were offered to the log, and what it says to the one that waits. */
  const offered: Written[] = [];
  const revived: string[] = [];
  const delivered: Written[] = [];
  let answer: ((error?: Error) => void) | undefined;
  const read = (bytes: Uint8Array) => fromBinary(VerdictsSchema, bytes).verdicts;
  const context: VerdictContext = {
    id: { headend: 'hub', shard: 0 },
    redis: await privateRedis(t),
    clock: systemClock,
    traces: new SuspicionTraces(),
    outages: createLogger('test', 'silent'),
    store: {
      epoch: 1,
      appendVerdicts: (verdicts, messages) => {
        offered.push({ ids: verdicts.map(({ id }) => id), peers: read(messages).map(({ peerId }) => peerId) });
        assert.deepEqual(
          verdicts.map(({ from, to }) => read(messages.subarray(from, to)).map(({ id }) => id)),
          verdicts.map(({ id }) => [id]),
        );
        return new Promise((resolve, reject) => {
          answer = (error) => (error ? reject(error) : resolve());
        });
      },
      revive: async (spis) => void revived.push(...spis),
    },
  };
  let settled = 0;
  const writer = new VerdictWriter(context, {
    logged: ({ ids, bytes }) => delivered.push({ ids, peers: read(bytes).map(({ peerId }) => peerId) }),
    idle: () => settled++,
    fenced: () => assert.fail('fenced'),
  });
  t.after(() => writer.stop());
  /** The log's answer to the batch that waits; then the next one is there, if there is one. */
  const take = async (error?: Error) => {
    const before = offered.length;
    answer!(error);
    await eventually('the writer goes on', 2_000, () => offered.length > before || writer.waiting === 0);
  };
  return {
    writer,
    decide: (n: number) => writer.add(new Decision(records, cells, n)),
    take,
    offered,
    delivered,
    revived,
    settled: () => settled,
  };
}

test('verdicts are written in order, batch by batch, and delivered as they were written', async (t) => {
  const { writer, decide, take, offered, delivered, settled } = await rig(t, 500);
  for (let n = 0; n < 500; n++) decide(n);
  while (writer.waiting > 0) await take();
  const peers = Array.from({ length: 500 }, (_, n) => `p${n}`);
  assert.deepEqual(
    offered.flatMap((batch) => batch.peers),
    peers,
  );
  assert.deepEqual(offered.map(({ ids }) => ids.length).slice(1), [200, 200, 99]);
  assert.deepEqual(delivered, offered);
  assert.equal(settled(), 1);
});

test('an answer takes back a verdict that waits, though it is composed already, and no other', async (t) => {
  const { writer, decide, take, offered, revived } = await rig(t, 500);
  for (let n = 0; n < 500; n++) decide(n);
  await take();
  // 1 to 200 are on their way, the next 200 are composed.
  writer.revive(spiOf(150));
  writer.revive(spiOf(250));
  writer.forget(spiOf(450));
  while (writer.waiting > 0) await take();
  const written = offered.flatMap(({ peers }) => peers);
  assert.deepEqual(
    written,
    Array.from({ length: 500 }, (_, n) => `p${n}`).filter((peer) => peer !== 'p250' && peer !== 'p450'),
  );
  assert.equal(new Set(offered.flatMap(({ ids }) => ids)).size, written.length);
  assert.deepEqual(revived, [spiOf(150)]);
});

test('what an operator wants is written, although the peer lives', async (t) => {
  const { writer, decide, take, offered, revived } = await rig(t, 500, Action.CLEAR);
  for (let n = 0; n < 500; n++) decide(n);
  await take();
  for (const n of [250, 450]) writer.revive(spiOf(n));
  while (writer.waiting > 0) await take();
  assert.equal(offered.flatMap(({ peers }) => peers).length, 500);
  assert.deepEqual(revived, []);
});

test('what the log does not take is offered again as it was, before what comes behind it', async (t) => {
  const { writer, decide, take, offered, delivered } = await rig(t, 300);
  for (let n = 0; n < 300; n++) decide(n);
  await take();
  assert.equal(writer.flowing, true);
  const refused = take(new Error('out of memory'));
  await eventually('it is refused', 2_000, () => !writer.flowing);
  await refused;
  assert.deepEqual(offered[2], offered[1]);
  assert.equal(writer.unconfirmed(offered[1]!.ids[0]!), true);
  while (writer.waiting > 0) await take();
  assert.equal(writer.unconfirmed(offered[1]!.ids[0]!), false);
  assert.deepEqual(
    delivered.flatMap(({ peers }) => peers),
    Array.from({ length: 300 }, (_, n) => `p${n}`),
  );
});

test('what Redis has lost is written again as it was, before all else', async (t) => {
  const { writer, decide, take, offered } = await rig(t, 450);
  for (let n = 0; n < 3; n++) decide(n);
  while (writer.waiting > 0) await take();
  const first = offered.flatMap(({ ids }) => ids);
  for (let n = 3; n < 450; n++) decide(n);
  await take();
  const before = offered.length;
  writer.writeAgain();
  while (writer.waiting > 0) await take();
  const again = offered.slice(before).flatMap(({ ids }) => ids);
  assert.deepEqual(again.slice(0, 3), first);
  assert.equal(new Set(offered.flatMap(({ peers }) => peers)).size, 450);
});
