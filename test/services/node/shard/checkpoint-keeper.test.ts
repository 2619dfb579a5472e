import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Clock } from '../../../../services/base/clock.ts';
import { CheckpointKeeper } from '../../../../services/node/shard/checkpoint-keeper.ts';
import type { ShardTaskHandle } from '../../../../services/node/shard/shard-thread.ts';

import type { CheckpointChunk } from '../../../../workers/takeover/checkpoint.ts';

const UNIX = 1_800_000_000_000;
/** Redis's clock is this far ahead. */
const AHEAD_MS = 77;

type Written = { chunks: readonly CheckpointChunk[]; unix: number; redisUnix: number; whole: boolean };

/** A keeper on a clock that stands at `now`, and a store that keeps what is written unless it is `down`. */
function setUp() {
  const written: Written[] = [];
  const surroundings = { now: 0, down: false, written };
  const keeper = new CheckpointKeeper(
    {
      writeCheckpoint: async (chunks, taken, whole) => {
        if (surroundings.down) throw new Error('Redis is away');
        written.push({ chunks, ...taken, whole });
      },
    },
    { now: () => surroundings.now, wall: () => UNIX + surroundings.now } as Clock,
    { redisTime: (at) => UNIX + AHEAD_MS + at },
  );
  return Object.assign(surroundings, {
    keeper,
    thread: (answers: readonly (readonly number[])[], last?: readonly number[]) =>
      threadOf(() => surroundings.now, answers, last),
  });
}

/** A thread that gives these answers in turn, and this last word. */
function threadOf(
  now: () => number,
  answers: readonly (readonly number[])[],
  last?: readonly number[],
): ShardTaskHandle {
  const chunks = (indices: readonly number[]) => indices.map((index) => ({ index, bytes: Uint8Array.of(index) }));
  const left = [...answers];
  const part = (indices: readonly number[]) => ({ chunks: chunks(indices), asOfMs: now() });
  const handle = {
    ask: async () => part(left.shift()!),
    stop: async () => last && part(last),
  };
  return handle as unknown as ShardTaskHandle;
}

const indices = ({ chunks }: Written) => chunks.map(({ index }) => index);

describe('a checkpoint on its way', () => {
  test('is as old as the thread says, however late it arrives', async () => {
    const world = setUp();
    const { keeper, thread, written } = world;
    keeper.watch(thread([[0, 1], [1]]));
    await keeper.collect();
    world.down = true;
    await assert.rejects(keeper.write(), /Redis is away/);
    world.now = 900;
    await keeper.collect();
    world.now = 60_000;
    world.down = false;
    await keeper.write();
    assert.deepEqual(written.map(indices), [[0, 1]]);
    assert.equal(written[0]!.unix, UNIX + 900);
    assert.equal(written[0]!.redisUnix, UNIX + AHEAD_MS + 900);
  });

  test('is not taken from a thread that knows only some of the SAs', async () => {
    const { keeper, thread, written } = setUp();
    const filling = thread([[0]], [0]);
    await keeper.collect();
    await keeper.write();
    await keeper.collectLast(filling);
    await keeper.write();
    assert.deepEqual(written, []);
  });

  test('of a thread that died is what it told last, and its successor has no part in it', async () => {
    const world = setUp();
    const { keeper, thread, written } = world;
    keeper.watch(thread([[3]]));
    await keeper.collect();
    keeper.died();
    world.now = 40_000;
    await keeper.collect();
    await keeper.write();
    assert.deepEqual(written.map(indices), [[3]]);
    assert.equal(written[0]!.unix, UNIX);
  });

  test('of a new thread, whose handles are others, leaves no chunk of the one before', async () => {
    const { keeper, thread, written } = setUp();
    keeper.watch(thread([[0, 1, 2], [1]]));
    await keeper.collect();
    await keeper.write();
    await keeper.collect();
    await keeper.write();
    keeper.died();
    keeper.watch(thread([[0]]));
    await keeper.collect();
    await keeper.write();
    assert.deepEqual(
      written.map((write) => [indices(write), write.whole]),
      [
        [[0, 1, 2], true],
        [[1], false],
        [[0], true],
      ],
    );
  });

  test('is written once, however often that is asked for while Redis is slow', async () => {
    const { keeper, thread, written } = setUp();
    keeper.watch(thread([[0, 1]]));
    await keeper.collect();
    // The thread dies before the first write is answered: the second write must not replace it with an empty checkpoint.
    await Promise.all([keeper.write(), keeper.write()]);
    assert.deepEqual(
      written.map((write) => [indices(write), write.whole]),
      [
        [[0, 1], true],
        [[], false],
      ],
    );
  });

  test('that Redis lost is not written in parts', async () => {
    const { keeper, thread, written } = setUp();
    const stalled = thread([[0, 1]]);
    keeper.watch(stalled);
    await keeper.collect();
    await keeper.write();
    keeper.startAnew();
    await keeper.collectLast(stalled);
    await keeper.write();
    assert.equal(written.length, 1);
  });

  test('ends with the last word of the thread, or with what it told before, if it is stalled', async () => {
    const answered = setUp();
    const stopping = answered.thread([[4]], [5]);
    answered.keeper.watch(stopping);
    await answered.keeper.collect();
    await answered.keeper.collectLast(stopping);
    await answered.keeper.write();
    assert.deepEqual(answered.written.map(indices), [[4, 5]]);

    const silent = setUp();
    const stalled = silent.thread([[5]]);
    silent.keeper.watch(stalled);
    await silent.keeper.collect();
    await silent.keeper.collectLast(stalled);
    await silent.keeper.write();
    assert.deepEqual(silent.written.map(indices), [[5]]);
  });
});
