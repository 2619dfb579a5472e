/** The order-free hash by which a headend and its node compare what they hold (see Reconcile in headend.proto). */

import type { SpiWords } from './spi.ts';

const OFFSET_HIGH = 0xcbf29ce4;
const OFFSET_LOW = 0x84222325;
/** The FNV prime is 2^40 + 0x1b3. */
const PRIME_LOW = 0x1b3;

/** A sum, modulo 2^64, of one FNV-1a-64 hash per SA. Adding and removing commute, so order and batches do not matter. */
export class SetHash {
  #high = 0;
  #low = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get hash(): bigint {
    return word64(this.#high, this.#low);
  }

  add(spi: SpiWords, revision: number): void {
    hash(spi, revision);
    const sum = this.#low + (low >>> 0);
    this.#low = sum >>> 0;
    this.#high = (this.#high + high + (sum > this.#low ? 1 : 0)) >>> 0;
    this.#count++;
  }

  remove(spi: SpiWords, revision: number): void {
    hash(spi, revision);
    const difference = this.#low - (low >>> 0);
    this.#low = difference >>> 0;
    this.#high = (this.#high - high - (difference < 0 ? 1 : 0)) >>> 0;
    this.#count--;
  }
}

/** FNV-1a-64 of the 20 bytes SPIs and revision, big-endian. */
export function saHash(spi: SpiWords, revision: number): bigint {
  hash(spi, revision);
  return word64(high, low);
}

function word64(highHalf: number, lowHalf: number): bigint {
  return (BigInt(highHalf >>> 0) << 32n) | BigInt(lowHalf >>> 0);
}

/** Leaves the hash in `high` and `low`. */
function hash([i0, i1, r0, r1]: SpiWords, revision: number): void {
  high = OFFSET_HIGH;
  low = OFFSET_LOW;
  mix(i0);
  mix(i1);
  mix(r0);
  mix(r1);
  mix(revision);
}

// The hash under way, in signed halves: whole numbers that never leave 32 bits are the fast ones.
let high = 0;
let low = 0;

/** Takes the four bytes of a word. */
function mix(word: number): void {
  for (let shift = 24; shift >= 0; shift -= 8) {
    low ^= (word >>> shift) & 0xff;
    // The carry of the low half times the prime's low part: its upper 16 bits hold all of it.
    const upper = (low >>> 16) * PRIME_LOW + (((low & 0xffff) * PRIME_LOW) >>> 16);
    high = (Math.imul(high, PRIME_LOW) + (upper >>> 16) + (low << 8)) | 0;
    low = Math.imul(low, PRIME_LOW);
  }
}
