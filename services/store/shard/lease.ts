/**
 * The lease of a shard: who owns it, and under which epoch, which fences off what former owners write. It does not say who may ask
 * the shard's peers: that the headend's rules say (see docs/decisions).
 */

import { type ShardId, shardKeys } from '../keys.ts';
import { type RedisClient, redisNow } from '../redis/redis.ts';
import { accepted, runScript } from '../redis/scripts.ts';

/** How long a lease counts as held unless renewed, ms. */
export const LEASE_MS = 2_500;

/** A shard's lease as anyone may read it. */
export type Lease = {
  readonly epoch: bigint;
  readonly node: string;
  readonly valid: boolean;
};

/** What Redis says of a lease just taken. */
export type TakenLease = {
  readonly epoch: number;
  readonly takenUnix: number;
  /** Number of the last write under the former epoch that Redis knows of; -1 if it knew of no lease. */
  readonly lastWrite: number;
};

/**
 * Takes a shard's lease with a new epoch. Throws FencedError if another owner holds it than the one allowed.
 * @param holder epoch under which it may be held; undefined: any
 */
export async function takeLease(
  { redis, node }: { readonly redis: RedisClient; readonly node: string },
  id: ShardId,
  holder: number | undefined,
): Promise<TakenLease> {
  const { lease, checkpoint } = shardKeys(id);
  const reply = await runScript(redis, 'take-lease', [lease, checkpoint], [node, LEASE_MS, holder ?? '']);
  const [epoch, takenUnix, lastWrite] = accepted('take-lease', reply) as [number, number, number];
  return { epoch, takenUnix, lastWrite };
}

/** Reads a shard's lease. */
export async function readLease(redis: RedisClient, id: ShardId): Promise<Lease | undefined> {
  return (await readLeases(redis, [id]))[0];
}

/** Reads the leases of several shards. */
export async function readLeases(redis: RedisClient, ids: readonly ShardId[]): Promise<(Lease | undefined)[]> {
  if (ids.length === 0) return [];
  const [now, ...leases] = await Promise.all([redisNow(redis), ...ids.map((id) => redis.hgetall(shardKeys(id).lease))]);
  return leases.map((lease) => decodeLease(lease, now));
}

function decodeLease({ epoch, node, until }: Record<string, string>, now: number): Lease | undefined {
  if (epoch === undefined || node === undefined) return undefined;
  return { epoch: BigInt(epoch), node, valid: Number(until) > now };
}
