/** The order-free hash by which a headend and its node compare what they hold (see Reconcile in headend.proto). */

import type { SpiWords } from './spi.ts';

const OFFSET_HIGH = 0xcbf29ce4;
const OFFSET_LOW = 0x84222325;
/** The FNV prime is 2^40 + 0x1b3. */
const PRIME_LOW = 0x1b3;

/** A sum, modulo 2^64, of one FNV-1a-64 hash per SA. Adding and removing commute, so order and batches do not matter. */
export class SetHash {
  #sum = 0n;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get hash(): bigint {
    return this.#sum;
  }

  add(spi: SpiWords, revision: number): void {
    this.#sum = BigInt.asUintN(64, this.#sum + saHash(spi, revision));
    this.#count++;
  }

  remove(spi: SpiWords, revision: number): void {
    this.#sum = BigInt.asUintN(64, this.#sum - saHash(spi, revision));
    this.#count--;
  }
}

/** FNV-1a-64 of the 20 bytes SPIs and revision, big-endian. */
export function saHash([i0, i1, r0, r1]: SpiWords, revision: number): bigint {
  high = OFFSET_HIGH;
  low = OFFSET_LOW;
  mix(i0);
  mix(i1);
  mix(r0);
  mix(r1);
  mix(revision);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

// The hash under way, in signed halves: whole numbers that never leave 32 bits are the fast ones.
let high = 0;
let low = 0;

/** Takes the four bytes of a word. */
function mix(word: number): void {
  for (let shift = 24; shift >= 0; shift -= 8) {
    low ^= (word >>> shift) & 0xff;
    // What the low half times the prime's low part carries: its upper 16 bits hold all of it.
    const upper = (low >>> 16) * PRIME_LOW + (((low & 0xffff) * PRIME_LOW) >>> 16);
    high = (Math.imul(high, PRIME_LOW) + (upper >>> 16) + (low << 8)) | 0;
    low = Math.imul(low, PRIME_LOW);
  }
}
