/** Names of everything in Redis. The braces are Redis Cluster's hash tag: a shard's keys share a slot. */

/** One shard of one headend. */
export type ShardId = { readonly headend: string; readonly shard: number };

/** Hash: headend to its number of shards. */
export const HEADENDS = 'dpd:headends';

/** Keys of one shard. */
export function shardKeys({ headend, shard }: ShardId) {
  const tag = `dpd:{${headend}/${shard}}`;
  return {
    /** Hash: epoch, node, until (Unix ms by Redis's clock). Outlives its holder, so that epochs only grow. */
    lease: `${tag}:lease`,
    /** Hash: SPI pair to Sa message without keys. */
    sas: `${tag}:sas`,
    /** Hash: SPI pair to sealed SaKeys. */
    keys: `${tag}:keys`,
    /** Hash: epoch and chunk number to rows, and `at` to the Unix ms of the last write. */
    checkpoint: `${tag}:checkpoint`,
    /** Stream: the verdict log. */
    verdicts: `${tag}:verdicts`,
    /** Hash: verdict id to Verdict message, until acknowledged. */
    unacked: `${tag}:unacked`,
    /** Hash: SPI pair to verdict id, for as long as the SA is held. */
    dead: `${tag}:dead`,
  } as const;
}
