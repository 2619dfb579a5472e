/** Random bytes from a pool: one call to the kernel's generator for a thousand IVs (a call each costs 4 us). */

import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 16 * 1024;

/** A pool of its own for each shard; what was given out is wiped. */
export function pooledRandom(): FillRandom {
  const pool = Buffer.alloc(POOL_BYTES);
  let used = pool.length;
  return (bytes, from, to) => {
    if (used + to - from > pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    for (let at = from; at < to; at++) {
      bytes[at] = pool[used]!;
      pool[used++] = 0;
    }
  };
}

/** Fills a part of a buffer with random bytes. */
export type FillRandom = (bytes: Uint8Array, from: number, to: number) => void;
