import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { shardKeys } from '../../../../services/store/keys.ts';
import type { RedisClient } from '../../../../services/store/redis/redis.ts';
import { LostWritesError } from '../../../../services/store/redis/scripts.ts';
import { ADOPT_ATTENDED_MS, LEASE_MS, MOST_LOST_MS } from '../../../../services/store/shard/lease.ts';
import { ShardStore } from '../../../../services/store/shard/shard-store.ts';
import { privateRedis } from '../../../private-redis.ts';

const SHARD = { headend: 'hub', shard: 0 };
const HOUR_MS = 3_600_000;

/** A store on a Redis of its own. A write that is given an answer does not get there, but to a server that nobody sees again. */
async function answeredByTest(t: TestContext) {
  const redis = await privateRedis(t);
  let answer: Promise<unknown> | undefined;
  const client = {
    eval: (...command: Parameters<RedisClient['eval']>) => answer ?? redis.eval(...command),
  } as unknown as RedisClient;
  const context = { redis: client, node: 'node', replicated: undefined };
  const store = await ShardStore.take(context, SHARD, { attended: true, unstoppedMs: 0 });
  const write = (of?: Promise<unknown>) => {
    answer = of;
    const written = store.writeSas([{ spi: 'a'.repeat(32), sa: Buffer.from('sa'), keys: undefined }], []);
    answer = undefined;
    return written;
  };
  return { redis, store, write };
}

test('a former owner has gone on for so long at most as he may without Redis, however long nobody had the shard', async (t) => {
  const redis = await privateRedis(t);
  const keys = shardKeys(SHARD);
  const take = () =>
    ShardStore.take({ redis, node: 'node', replicated: undefined }, SHARD, { attended: false, unstoppedMs: 0 });
  /** The last owner checkpointed two hours ago, and was heard of a minute later, if at all. */
  const leave = async (heard: boolean) => {
    const checkpointAt = Date.now() - 2 * HOUR_MS;
    await redis.hset(keys.checkpoint, { at: checkpointAt, taken: checkpointAt, final: '0' });
    await redis.hset(keys.lease, { until: heard ? checkpointAt + 60_000 : 0 });
  };
  const near = (ms: number, wanted: number) => assert(ms >= wanted && ms < wanted + 5_000, `${ms} ms, not ${wanted}`);

  const first = await take();
  near((await first.readCheckpoint()).ageMs, 0);
  await leave(true);
  const second = await take();
  near((await second.readCheckpoint()).ageMs, 60_000 + ADOPT_ATTENDED_MS);
  // Its own time counts, as long as it has written no checkpoint of its own.
  await redis.hset(keys.lease, { until: Date.now() - HOUR_MS });
  near((await second.readCheckpoint()).ageMs, 60_000 + ADOPT_ATTENDED_MS);
  await second.writeCheckpoint([], { unix: Date.now(), redisUnix: second.takenUnix }, { whole: true, final: false });
  near((await second.readCheckpoint()).ageMs, 0);

  await leave(false);
  near((await (await take()).readCheckpoint()).ageMs, 2 * HOUR_MS);
});

test('who takes a shard is told of an owner that did not stop, though others had it since and did', async (t) => {
  const redis = await privateRedis(t);
  const takenBy = (node: string, unstoppedMs = 1_500) =>
    ShardStore.take({ redis, node, replicated: undefined }, SHARD, { attended: false, unstoppedMs });
  const near = (ms: number, wanted: number) => assert(ms <= wanted && ms > wanted - 1_000, `${ms} ms, not ${wanted}`);
  const until = () => redis.hget(shardKeys(SHARD).lease, 'until');

  const first = await takenBy('a');
  assert.equal(first.formerRemainingMs, 0);
  const second = await takenBy('b');
  near(second.formerRemainingMs, LEASE_MS);
  await second.release();
  near((await takenBy('c')).formerRemainingMs, LEASE_MS);

  // A lease that ran out long ago: its owner may have had a voucher a moment ago.
  await redis.hset(shardKeys(SHARD).lease, { until: Date.now() - HOUR_MS, former: 0 });
  near((await takenBy('d')).formerRemainingMs, 1_500);
  // One that was given back, and a node's own, of which it is itself the only process.
  await redis.hset(shardKeys(SHARD).lease, { until: 0, former: 0 });
  assert.equal((await takenBy('e')).formerRemainingMs, 0);
  assert.equal((await takenBy('e')).formerRemainingMs, 0);
  // Redis failed over: another may have had the shard since, of whom it knows nothing.
  await redis.hset(shardKeys(SHARD).lease, { until: Date.now() - HOUR_MS, history: 'f'.repeat(40) });
  near((await takenBy('e')).formerRemainingMs, LEASE_MS);
  await redis.hset(shardKeys(SHARD).lease, { former: 0 });
  const again = await takenBy('e');
  assert.equal(again.formerRemainingMs, 0);
  // One that Redis forgot; and a clock that was set back.
  near((await again.retake({ attended: true, unstoppedMs: LEASE_MS })).formerRemainingMs, LEASE_MS);
  await redis.hset(shardKeys(SHARD).lease, { until: 0, former: Date.now() + HOUR_MS });
  near((await takenBy('f')).formerRemainingMs, LEASE_MS);
  assert(Number(await until()) > Date.now());
});

test('an owner is told since when Redis has known it with its headend', async (t) => {
  const redis = await privateRedis(t);
  const take = (node: string, attended: boolean) =>
    ShardStore.take({ redis, node, replicated: undefined }, SHARD, { attended, unstoppedMs: 0 });
  const knownMs = async (store: ShardStore) => {
    const { nowUnix, attendedSinceUnix } = await store.renew(true);
    return nowUnix - attendedSinceUnix;
  };

  const first = await take('a', true);
  assert.equal((await first.renew(true)).attendedSinceUnix, 0, 'Redis never knew anything else');
  const second = await take('b', true);
  assert((await knownMs(second)) < 1_000);
  await sleep(20);
  assert((await knownMs(second)) >= 20);
  // Without its headend there is nothing to know until a renewal tells of one.
  await second.renew(false);
  await sleep(20);
  assert.equal(await knownMs(second), 0);
  await sleep(20);
  await second.release();
  assert.equal(await knownMs(second), 0);
  const { takenUnix, attendedSinceUnix } = await second.retake({ attended: true, unstoppedMs: 0 });
  assert.equal(attendedSinceUnix, takenUnix);
});

test('a last word is trusted as long as Redis has not failed over since', async (t) => {
  const redis = await privateRedis(t);
  const { checkpoint } = shardKeys(SHARD);
  const take = () =>
    ShardStore.take({ redis, node: 'node', replicated: undefined }, SHARD, { attended: true, unstoppedMs: 0 });
  const stop = async (store: ShardStore) => {
    const unix = Date.now() - HOUR_MS;
    await store.writeCheckpoint([], { unix, redisUnix: unix }, { whole: true, final: true });
    await store.release();
  };
  await stop(await take());
  const next = await take();
  assert.equal((await next.readCheckpoint()).final, true);
  assert.equal(next.formerRemainingMs, 0);

  for (const lose of [
    () => redis.hset(checkpoint, { history: 'f'.repeat(40) }),
    () => redis.hdel(checkpoint, 'history'),
  ]) {
    await stop(await take());
    await lose();
    const doubtful = await take();
    const { final, ageMs, chunks } = await doubtful.readCheckpoint();
    assert.deepEqual({ final, ageMs, chunks }, { final: false, ageMs: MOST_LOST_MS, chunks: [] });
    assert.equal(doubtful.formerRemainingMs, LEASE_MS);
  }
});

test('who takes the lease anew is told whether Redis has all that was written before', async (t) => {
  const { redis, store, write } = await answeredByTest(t);
  const lost = async () => (await store.retake({ attended: true, unstoppedMs: 0 })).lost;

  assert.equal(await lost(), false, 'nothing was written');
  await write();
  await write();
  assert.equal(await lost(), false);
  await write();
  await write();
  await redis.hset(shardKeys(SHARD).lease, { written: 1 });
  assert.equal(await lost(), true);
  assert.equal(await lost(), false);

  // The server that takes it is replaced by one that does not have it.
  const former = Promise.withResolvers<unknown>();
  const written = write(former.promise);
  assert.equal(await lost(), true, 'whose answer is on the way');
  former.resolve(1);
  await written;
  await write();
  assert.equal(await lost(), false);

  await redis.flushall();
  assert.equal(await lost(), true, 'the lease too, under which nothing had been written yet');
});

test('a write that Redis loses while its answer is on the way is not hidden by the next', async (t) => {
  const { store, write } = await answeredByTest(t);

  await write();
  await assert.rejects(write(Promise.reject(new Error('OOM'))), /OOM/);
  await write();

  // The server that takes it is replaced by one that does not have it.
  const former = Promise.withResolvers<unknown>();
  const lost = write(former.promise);
  await assert.rejects(write(), LostWritesError);
  former.resolve(1);
  await lost;
  await assert.rejects(store.renew(true), LostWritesError);
  await write();
  await store.renew(true);
});
