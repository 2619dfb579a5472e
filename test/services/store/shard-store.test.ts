import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shardKeys } from '../../../services/store/keys.ts';
import { ADOPT_ATTENDED_MS } from '../../../services/store/lease.ts';
import { ShardStore } from '../../../services/store/shard-store.ts';
import { privateRedis } from '../../private-redis.ts';

const SHARD = { headend: 'hub', shard: 0 };
const HOUR_MS = 3_600_000;

test('a former owner has gone on for so long at most as he may without Redis, however long nobody had the shard', async (t) => {
  const redis = await privateRedis(t);
  const keys = shardKeys(SHARD);
  const take = () => ShardStore.take({ redis, node: 'node', replicated: undefined }, SHARD);
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
