/** The lease of a shard: who owns it, under which epoch, for how long. */

import { type ShardId, shardKeys } from '../keys.ts';
import { type RedisClient, redisNow } from '../redis/redis.ts';
import { accepted, runScript } from '../redis/scripts.ts';

/** How long a lease holds unless renewed, ms. */
export const LEASE_MS = 2_500;
/**
 * How long an owner whose headend is connected may go on without Redis, ms; and when others may adopt its shard, ms. Redis
 * may be away for all, or for that owner alone: he cannot tell.
 */
export const LEASELESS_MS = 540_000;
export const ADOPT_ATTENDED_MS = 600_000;
/** How much Redis may lose when it fails over, ms. */
export const LOST_MS = 10_000;
/** For how long an owner has the shard at most whom Redis then loses, ms: it has no more time than a lease after that. */
export const MOST_LOST_MS = LOST_MS + LEASE_MS;

/** A shard's lease as anyone may read it. */
export type Lease = {
  readonly epoch: bigint;
  readonly node: string;
  readonly valid: boolean;
  /** How long ago it ran out, ms. */
  readonly expiredMs: number;
  /** Its headend was connected when it was last renewed. */
  readonly attended: boolean;
  /** Its holder gave it back. */
  readonly released: boolean;
};

/** How a shard's lease is taken. */
export type Taking = {
  /** Epoch under which it may be held; undefined: any. */
  readonly holder: number | undefined;
  /** Its headend is connected. */
  readonly attended: boolean;
  /**
   * For how long an owner that did not stop may go on, ms: another that did not give its lease back, or, where there is a
   * holder, one that Redis has forgotten.
   */
  readonly unstoppedMs: number;
};

/** What Redis says of a lease just taken. */
export type TakenLease = {
  readonly epoch: number;
  /** The former owner had stopped; or had, but Redis may have lost who had the shard since. */
  readonly formerStopped: 'no' | 'last' | 'perhaps not last';
  /** For how long an owner before this one may still go on, however many have come and gone since, ms. */
  readonly formerRemainingMs: number;
  /** Until when the former owner's lease held, Unix ms; 0 if nobody knows. */
  readonly formerUntilUnix: number;
  readonly takenUnix: number;
  /** Since when Redis has known nothing else than this owner with its headend, Unix ms; 0: never anything else. */
  readonly attendedSinceUnix: number;
  /** Number of the last write under the former epoch that Redis knows of; -1 if it knew of no lease. */
  readonly lastWrite: number;
};

/** Takes a shard's lease with a new epoch. Throws FencedError if another owner holds it than the one allowed. */
export async function takeLease(
  { redis, node }: { readonly redis: RedisClient; readonly node: string },
  id: ShardId,
  { holder, attended, unstoppedMs }: Taking,
): Promise<TakenLease> {
  const { lease, checkpoint } = shardKeys(id);
  const args = [node, LEASE_MS, holder ?? '', attended ? '1' : '0', Math.ceil(unstoppedMs)];
  const reply = accepted('take-lease', await runScript(redis, 'take-lease', [lease, checkpoint], args));
  const [epoch, final, formerRemainingMs, takenUnix, formerUntilUnix, attendedSinceUnix, lastWrite] = reply as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    epoch,
    formerStopped: final === 1 ? 'last' : final === 2 ? 'perhaps not last' : 'no',
    formerRemainingMs,
    formerUntilUnix,
    takenUnix,
    attendedSinceUnix,
    lastWrite,
  };
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

function decodeLease({ epoch, node, until, attended }: Record<string, string>, now: number): Lease | undefined {
  if (epoch === undefined || node === undefined) return undefined;
  return {
    epoch: BigInt(epoch),
    node,
    valid: Number(until) > now,
    expiredMs: Math.max(0, now - Number(until)),
    attended: attended === '1',
    released: until === '0',
  };
}
