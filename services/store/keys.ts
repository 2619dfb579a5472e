/** Names of everything in Redis. The braces are Redis Cluster's hash tag: a shard's keys share a slot. */

/** One shard of one headend. */
export type ShardId = { readonly headend: string; readonly shard: number };

/** Shards of one headend at most; a power of two. */
export const MOST_SHARDS = 256;
const NAME = /^[A-Za-z0-9._-]{1,64}$/;

/** Whether a headend or a node may have this name. */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && NAME.test(value);
}

/** Whether a headend may have so many shards. */
export function isShardCount(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= MOST_SHARDS && (value & (value - 1)) === 0;
}

/** Hash: headend to its number of shards. */
export const HEADENDS = 'dpd:headends';
/** Hash: node to when its beat runs out (Unix ms by Redis's clock) and its description. */
export const NODES = 'dpd:nodes';
/** Sorted set: endpoint (address:port) to the Unix ms of the last verdict on it. */
export const DEAD_ENDPOINTS = 'dpd:dead-endpoints';
/** String: an empty text, sealed with the vault's key. See vault-check.ts. */
export const VAULT_CHECK = 'dpd:vault-check';
/** String: an empty text with its MAC. See record-mac.ts. */
export const MAC_CHECK = 'dpd:mac-check';
/** Stream: the latest actions, and who did them: see node/access/audit.ts. */
export const AUDIT = 'dpd:audit';
/** Channel for messages between nodes: see bus.ts. */
export const BUS = 'dpd:bus';

/** Keys of one shard. */
export function shardKeys({ headend, shard }: ShardId) {
  const tag = `dpd:{${headend}/${shard}}`;
  return {
    /**
     * Hash: epoch, node, until (Unix ms by Redis's clock), written, confirmed, path: see take-lease.lua. Outlives its holder: epochs only grow.
     */
    lease: `${tag}:lease`,
    /** Hash: SPI pair to the SA's record, its keys sealed: see workers/sa-page.ts. */
    sas: `${tag}:sas`,
    /** Hash: epoch and chunk number to rows; and of the last write: at, taken (Unix ms), final (see the script). */
    checkpoint: `${tag}:checkpoint`,
    /** Stream: the verdict log, each entry verdicts one behind the other, each with its MAC. See stored-verdict.ts. */
    verdicts: `${tag}:verdicts`,
    /** Hash: verdict id to the verdict with its MAC, until acknowledged. See stored-verdict.ts. */
    unacked: `${tag}:unacked`,
    /** Hash: SPI pair to verdict id, for as long as the SA is held. */
    dead: `${tag}:dead`,
    /** Hash: SPI pair to the message id of its daemon's latest request, and the true id that it was sent under: see workers/front. */
    translated: `${tag}:translated`,
    /** Hash: verdict id to the verdict as last delivered, while its attempt has failed and the next has not begun. */
    failover: `${tag}:failover`,
    /** Hash: verdict id to the number of its present attempt, if it is not the first. */
    attempts: `${tag}:attempts`,
    /** Hash: verdict id to why its present attempt failed, as it was acknowledged. */
    failed: `${tag}:failed`,
    /** Hash: verdict id to its FailoverProgress as JSON. */
    progress: `${tag}:progress`,
    /** Sorted set: verdict id to the Unix ms at which its failover is looked at; without failovers that have ended. */
    due: `${tag}:due`,
    /** Hash: verdict id to the failover that was given up, as JSON with its MAC, until an operator replays or drops it. */
    deadLetters: `${tag}:dead-letters`,
    /** Hash: peer id to its latest events, a GetPeerHistoryResponse: see peer-history.ts. */
    history: `${tag}:history`,
    /** Sorted set: peer id to the Unix ms of its latest event. */
    noted: `${tag}:noted`,
  } as const;
}
