import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { VerdictSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { shardKeys } from '../../../../services/store/keys.ts';
import { acknowledgeVerdicts } from '../../../../services/store/shard/acknowledgement.ts';
import { FailoverStore, type StandingFailover } from '../../../../services/store/shard/failover-store.ts';
import { ShardStore } from '../../../../services/store/shard/shard-store.ts';
import { readVerdict, writeVerdict } from '../../../../services/store/shard/stored-verdict.ts';
import { NOTHING_REFUSED } from '../../../nothing-refused.ts';
import { privateRedis } from '../../../private-redis.ts';
import { TEST_MAC } from '../../../test-mac.ts';

const SHARD = { headend: 'hub', shard: 0 };
const verdictOf = (id: string, attempt = 0) => writeVerdict(create(VerdictSchema, { id, attempt }));

/** A shard with these verdicts in its log, due at once. */
async function given(t: TestContext, ids: readonly string[]) {
  const redis = await privateRedis(t);
  const shard = await ShardStore.take(
    { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
    SHARD,
  );
  const messages = ids.map((id) => verdictOf(id));
  const { length } = messages[0]!;
  const verdicts = ids.map((id, n) => ({ id, from: n * length, to: (n + 1) * length }));
  await shard.appendVerdicts(verdicts, Buffer.concat(messages), 0);
  const store = new FailoverStore({ redis, mac: TEST_MAC }, SHARD);
  const acknowledge = (verdictId: string, attempt: number, failed?: string) =>
    acknowledgeVerdicts(redis, SHARD, [{ verdictId, attempt, failed }]);
  const due = async () => (await store.readDue(100)).due.map(({ id, failed }) => [id, failed]);
  /** Everything that is left of failovers, by key. */
  const left = async () => {
    const { unacked, failover, attempts, failed, progress, due, deadLetters } = shardKeys(SHARD);
    const hashes = await Promise.all(
      [unacked, failover, attempts, failed, progress, deadLetters].map((key) => redis.hlen(key)),
    );
    return [...hashes, await redis.zcard(due)];
  };
  return { shard, store, acknowledge, due, left };
}

const standing = (id: string, attempt = 0, failed?: string): StandingFailover => ({ id, attempt, failed });
const next = (of: StandingFailover) => ({
  ...of,
  next: of.attempt + 1,
  endpoint: 1,
  verdict: verdictOf(of.id, of.attempt + 1),
  progress: '{}',
  dueUnix: 0,
});
const VERDICT = verdictOf('a.0').toString('base64');
const letter = { attempts: 1, reason: 'late', givenUpUnix: 1, verdict: VERDICT };

test('an acknowledgement that the endpoint came up leaves nothing of the failover', async (t) => {
  const { acknowledge, left } = await given(t, ['a.0', 'b.0']);
  assert.deepEqual(await acknowledge('a.0', 0), [true]);
  assert.deepEqual(await acknowledge('a.0', 0), [false], 'twice');
  assert.deepEqual(await acknowledge('b.0', 1), [false], 'an attempt that never was');
  assert.deepEqual(await acknowledge('b.0', 0), [true]);
  assert.deepEqual(await left(), [0, 0, 0, 0, 0, 0, 0]);
});

test('so does that of a later attempt, whatever was noted before', async (t) => {
  const { store, acknowledge, due, left } = await given(t, ['a.0']);
  await acknowledge('a.0', 0, 'refused');
  assert.deepEqual(await due(), [['a.0', 'refused']]);
  assert.deepEqual(await store.advance([next(standing('a.0', 0, 'refused'))]), [true]);
  await store.wait([{ ...standing('a.0', 1), progress: '{"x":1}', dueUnix: 1 }]);
  const [waiting] = (await store.readDue(1)).due;
  assert.equal(waiting!.progress, '{"x":1}');
  assert.equal(readVerdict(waiting!.verdict!).attempt, 1);
  assert.deepEqual(await acknowledge('a.0', 0), [false]);
  assert.deepEqual(await acknowledge('a.0', 1), [true]);
  assert.deepEqual(await left(), [0, 0, 0, 0, 0, 0, 0]);
});

test('two workers on one shard: each step is taken once, none on what has changed meanwhile', async (t) => {
  const { store, acknowledge, due, left } = await given(t, ['a.0', 'b.0', 'c.0']);
  for (const id of ['a.0', 'b.0']) await acknowledge(id, 0, 'refused');
  const both = [next(standing('a.0', 0, 'refused')), next(standing('b.0', 0, 'refused'))];
  assert.deepEqual(await store.advance(both.slice(0, 1)), [true]);
  assert.deepEqual(await store.advance(both), [false, true]);
  assert.deepEqual(await store.advance([next(standing('a.0', 0))]), [false], 'an attempt that another has begun');
  // What was read before the attempt began, or ended, is no longer so.
  const stale = [standing('a.0', 0, 'refused'), standing('a.0', 0), standing('a.0', 1, 'refused'), standing('x.0')];
  assert.deepEqual(
    await store.giveUp(stale.map((of) => ({ ...of, letter }))),
    stale.map(() => 'changed'),
  );
  await store.wait(stale.map((of) => ({ ...of, progress: 'stale', dueUnix: 9e15 })));
  assert.deepEqual((await due()).sort(), [
    ['a.0', undefined],
    ['b.0', undefined],
    ['c.0', undefined],
  ]);
  // It was completed while a worker was processing it.
  await acknowledge('c.0', 0);
  await store.wait([{ ...standing('c.0'), progress: 'stale', dueUnix: 0 }]);
  assert.deepEqual(await store.giveUp([{ ...standing('c.0'), letter }]), ['changed']);
  for (const id of ['a.0', 'b.0']) assert.deepEqual(await acknowledge(id, 1), [true]);
  assert.deepEqual(await left(), [0, 0, 0, 0, 0, 0, 0]);
});

test('given up without an acknowledgement: delivered on, and taken back when it comes after all', async (t) => {
  const { shard, store, acknowledge, left } = await given(t, ['a.0']);
  await acknowledge('a.0', 0, 'refused');
  await store.advance([next(standing('a.0', 0, 'refused'))]);
  assert.deepEqual(await store.giveUp([{ ...standing('a.0', 1), letter }]), ['kept']);
  assert.deepEqual([...(await shard.listUnacked())], [['a.0/1', 'a.0']]);
  assert.deepEqual([...(await store.deadLetters(NOTHING_REFUSED)).keys()], ['a.0']);
  assert.deepEqual(await acknowledge('a.0', 1), [true]);
  assert.deepEqual(await left(), [0, 0, 0, 0, 0, 0, 0]);
});

test('a letter stays when the late acknowledgement is that no endpoint came up, and can be replayed', async (t) => {
  const { store, acknowledge, due, left } = await given(t, ['a.0']);
  await store.giveUp([{ ...standing('a.0'), letter }]);
  assert.deepEqual(await acknowledge('a.0', 0, 'refused'), [true]);
  assert.deepEqual(await left(), [0, 0, 0, 0, 0, 1, 0]);
  assert.equal(await store.replay('a.0', 1, verdictOf('a.0', 1)), true);
  assert.deepEqual(await due(), [['a.0', undefined]]);
  assert.deepEqual(await acknowledge('a.0', 1), [true]);
  assert.deepEqual(await left(), [0, 0, 0, 0, 0, 0, 0]);
});

test('when the next is due is told only while none is', async (t) => {
  const { store } = await given(t, ['a.0', 'b.0']);
  const { nowUnix, due } = await store.readDue(1);
  assert.equal(due.length, 1);
  await store.wait(['a.0', 'b.0'].map((id) => ({ ...standing(id), progress: '{}', dueUnix: nowUnix + 60_000 })));
  const later = await store.readDue(1);
  assert.deepEqual([later.due, later.nextUnix], [[], nowUnix + 60_000]);
});
