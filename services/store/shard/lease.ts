/**
 * The lease of a shard: who owns it, and under which epoch, which fences off what former owners write. It does not say who may
 * probe the shard's peers: the headend's rules do (see docs/decisions).
 */

import { RecordError } from '../../../workers/base/errors.ts';
import { isName, type ShardId, shardKeys } from '../keys.ts';
import type { OnRefused } from '../record.ts';
import { type RedisClient, redisNow } from '../redis/redis.ts';
import { accepted, runScript } from '../redis/scripts.ts';

/** Epochs follow the clock, in ms. */
const EPOCH = /^\d{1,15}$/;
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
 * Takes a shard's lease with a new epoch. Throws FencedError if an owner other than the allowed one holds it.
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

/** Reads a shard's lease. An invalid one counts as none, and is reported. */
export async function readLease(redis: RedisClient, id: ShardId, refused: OnRefused): Promise<Lease | undefined> {
  return (await readLeases(redis, [id], refused))[0];
}

/** Reads the leases of several shards, as {@link readLease}. */
export async function readLeases(
  redis: RedisClient,
  ids: readonly ShardId[],
  refused: OnRefused,
): Promise<(Lease | undefined)[]> {
  if (ids.length === 0) return [];
  const [now, ...leases] = await Promise.all([redisNow(redis), ...ids.map((id) => redis.hgetall(shardKeys(id).lease))]);
  return leases.map((fields, n) => {
    const lease = decodeLease(shardKeys(ids[n]!).lease, fields, now);
    if (!(lease instanceof RecordError)) return lease;
    refused(lease);
    return undefined;
  });
}

/** The lease that these fields are; undefined if there is none yet. */
function decodeLease(
  key: string,
  { epoch, node, until }: Readonly<Record<string, string>>,
  now: number,
): Lease | RecordError | undefined {
  if (epoch === undefined || node === undefined) return undefined;
  if (!EPOCH.test(epoch) || !isName(node)) return new RecordError(key, 'is no lease');
  return { epoch: BigInt(epoch), node, valid: Number(until) > now };
}
