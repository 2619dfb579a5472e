/** Every headend and shard that Redis knows. */

import { HEADENDS, type ShardId } from '../keys.ts';
import type { RedisClient } from '../redis/redis.ts';
import { type Lease, readLeases } from '../shard/lease.ts';

/** A shard of a headend ever seen, with that headend's number of shards. */
export type KnownShard = { readonly id: ShardId; readonly shards: number; readonly lease: Lease | undefined };

/** Every shard there is, or those wanted, with its lease. */
export async function readShards(redis: RedisClient, wanted = (_: ShardId) => true): Promise<KnownShard[]> {
  const found = [...(await readHeadends(redis))].flatMap(([headend, shards]) =>
    Array.from({ length: shards }, (_, shard) => ({ id: { headend, shard }, shards })).filter(({ id }) => wanted(id)),
  );
  const ids = found.map(({ id }) => id);
  const leases = await readLeases(redis, ids);
  return found.map((shard, n) => ({ ...shard, lease: leases[n] }));
}

/** Headends ever seen, with their number of shards. */
export async function readHeadends(redis: RedisClient): Promise<Map<string, number>> {
  return new Map(Object.entries(await redis.hgetall(HEADENDS)).map(([name, shards]) => [name, Number(shards)]));
}

/** Notes a headend's number of shards, which never changes. Returns the number that holds. */
export async function registerHeadend(redis: RedisClient, headend: string, shards: number): Promise<number> {
  await redis.hsetnx(HEADENDS, headend, String(shards));
  return Number(await redis.hget(HEADENDS, headend));
}
