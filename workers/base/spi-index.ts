/** From an SPI pair to a handle: open addressing with linear probing on typed arrays. */

import { widen } from './columns.ts';
import type { SpiWords } from './spi.ts';

const EMPTY = -1;

/** SPI pairs by handle, as {@link SpiWords} in a row: a pair lies in one cache line. */
export type SpiPairs = Uint32Array;

/** Words of a pair. */
const WORDS = 4;

/** Room for so many pairs, with the present pairs copied to the front. */
export function spiPairs(capacity: number, from?: SpiPairs): SpiPairs {
  const pairs = new Uint32Array(WORDS * capacity);
  return from ? widen(pairs, from) : pairs;
}

/** The pair at a handle. */
export function spiAt(pairs: SpiPairs, handle: number): SpiWords {
  const at = WORDS * handle;
  return [pairs[at]!, pairs[at + 1]!, pairs[at + 2]!, pairs[at + 3]!];
}

/** Sets the pair at a handle. */
export function setSpi(pairs: SpiPairs, handle: number, spi: SpiWords): void {
  const at = WORDS * handle;
  [pairs[at], pairs[at + 1], pairs[at + 2], pairs[at + 3]] = spi;
}

/** Writes the pair at a handle as it travels, 16 bytes. Returns where they end. */
export function writeSpi(pairs: SpiPairs, handle: number, bytes: Buffer, at: number): number {
  for (let word = WORDS * handle, n = 0; n < WORDS; n++) bytes.writeUInt32BE(pairs[word + n]!, at + 4 * n);
  return at + 4 * WORDS;
}

export class SpiIndex {
  #slots = new Int32Array(1024).fill(EMPTY);
  #size = 0;

  /** Enters a handle whose pair is set. The pair must not be in the index. */
  add(pairs: SpiPairs, handle: number): void {
    if ((this.#size + 1) * 4 > this.#slots.length * 3) this.#rehash(pairs, this.#slots.length * 2);
    this.#insert(pairs, handle);
    this.#size++;
  }

  /** Handle of the pair, or -1. */
  find(pairs: SpiPairs, i0: number, i1: number, r0: number, r1: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = hash(i0, i1, r0, r1) & mask; ; slot = (slot + 1) & mask) {
      const handle = this.#slots[slot]!;
      if (handle === EMPTY) return EMPTY;
      const at = WORDS * handle;
      if (pairs[at + 3]! === r1 && pairs[at + 2]! === r0 && pairs[at + 1]! === i1 && pairs[at]! === i0) return handle;
    }
  }

  /** Removes a handle whose pair is still set. */
  remove(pairs: SpiPairs, handle: number): void {
    const mask = this.#slots.length - 1;
    let hole = home(pairs, handle, mask);
    while (this.#slots[hole]! !== handle) {
      if (this.#slots[hole]! === EMPTY) return;
      hole = (hole + 1) & mask;
    }
    // Close the gap so that no later entry becomes unreachable (Knuth, TAOCP 6.4, algorithm R).
    for (let slot = (hole + 1) & mask; this.#slots[slot]! !== EMPTY; slot = (slot + 1) & mask) {
      const origin = home(pairs, this.#slots[slot]!, mask);
      if (((slot - origin) & mask) >= ((slot - hole) & mask)) {
        this.#slots[hole] = this.#slots[slot]!;
        hole = slot;
      }
    }
    this.#slots[hole] = EMPTY;
    this.#size--;
  }

  #insert(pairs: SpiPairs, handle: number): void {
    const mask = this.#slots.length - 1;
    let slot = home(pairs, handle, mask);
    while (this.#slots[slot]! !== EMPTY) slot = (slot + 1) & mask;
    this.#slots[slot] = handle;
  }

  #rehash(pairs: SpiPairs, capacity: number): void {
    const old = this.#slots;
    this.#slots = new Int32Array(capacity).fill(EMPTY);
    for (const handle of old) if (handle !== EMPTY) this.#insert(pairs, handle);
  }
}

function home(pairs: SpiPairs, handle: number, mask: number): number {
  const at = WORDS * handle;
  return hash(pairs[at]!, pairs[at + 1]!, pairs[at + 2]!, pairs[at + 3]!) & mask;
}

/** SPIs are random, but their low bits name the shard: mix before masking. */
function hash(i0: number, i1: number, r0: number, r1: number): number {
  let h = Math.imul(i0 ^ Math.imul(r0, 0x85ebca6b), 0x9e3779b1);
  h = Math.imul(h ^ i1 ^ Math.imul(r1, 0xc2b2ae35), 0x27d4eb2f);
  return (h ^ (h >>> 15)) >>> 0;
}
