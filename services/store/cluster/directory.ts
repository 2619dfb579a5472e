/** Every headend and shard that Redis knows. */

import { RecordError } from '../../../workers/base/errors.ts';
import { HEADENDS, isName, isShardCount, type ShardId } from '../keys.ts';
import type { OnRefused } from '../record.ts';
import type { RedisClient } from '../redis/redis.ts';
import { type Lease, readLeases } from '../shard/lease.ts';

/** A shard of a headend ever seen, with that headend's number of shards. */
export type KnownShard = { readonly id: ShardId; readonly shards: number; readonly lease: Lease | undefined };

/** All shards, with their leases. Reports records that are no headend, or no lease. */
export async function readShards(redis: RedisClient, refused: OnRefused): Promise<KnownShard[]> {
  const found = [...(await readHeadends(redis, refused))].flatMap(([headend, shards]) =>
    Array.from({ length: shards }, (_, shard) => ({ id: { headend, shard }, shards })),
  );
  const ids = found.map(({ id }) => id);
  const leases = await readLeases(redis, ids, refused);
  return found.map((shard, n) => ({ ...shard, lease: leases[n] }));
}

/** Headends ever seen, with their number of shards. Reports records that are none. */
export async function readHeadends(redis: RedisClient, refused: OnRefused): Promise<Map<string, number>> {
  const headends = new Map<string, number>();
  for (const [name, text] of Object.entries(await redis.hgetall(HEADENDS))) {
    const shards = Number(text);
    if (isName(name) && isShardCount(shards)) headends.set(name, shards);
    else refused(notAHeadend(name, text));
  }
  return headends;
}

/** Notes a headend's number of shards, which never changes. Returns the number that holds. Throws RecordError if that is none. */
export async function registerHeadend(redis: RedisClient, headend: string, shards: number): Promise<number> {
  await redis.hsetnx(HEADENDS, headend, String(shards));
  const text = String(await redis.hget(HEADENDS, headend));
  if (!isShardCount(Number(text))) throw notAHeadend(headend, text);
  return Number(text);
}

function notAHeadend(name: string, shards: string): RecordError {
  return new RecordError(
    HEADENDS,
    `${JSON.stringify(name.slice(0, 80))} with ${JSON.stringify(shards.slice(0, 20))} shards is no headend`,
  );
}
