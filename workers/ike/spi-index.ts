/** From an SPI pair to a handle: open addressing with linear probing on typed arrays. */

import type { SpiWords } from '../spi.ts';

const EMPTY = -1;

/** SPI columns that the index reads: each SPI as two 32-bit words, big-endian. */
export type SpiColumns = {
  readonly spiI0: Uint32Array;
  readonly spiI1: Uint32Array;
  readonly spiR0: Uint32Array;
  readonly spiR1: Uint32Array;
};

/** Columns with room for so many. */
export function spiColumns(capacity: number): SpiColumns {
  const column = () => new Uint32Array(capacity);
  return { spiI0: column(), spiI1: column(), spiR0: column(), spiR1: column() };
}

/** The pair at a handle. */
export function spiAt({ spiI0, spiI1, spiR0, spiR1 }: SpiColumns, handle: number): SpiWords {
  return [spiI0[handle]!, spiI1[handle]!, spiR0[handle]!, spiR1[handle]!];
}

/** Sets the pair at a handle. */
export function setSpi({ spiI0, spiI1, spiR0, spiR1 }: SpiColumns, handle: number, spi: SpiWords): void {
  [spiI0[handle], spiI1[handle], spiR0[handle], spiR1[handle]] = spi;
}

export class SpiIndex {
  #slots = new Int32Array(1024).fill(EMPTY);
  #size = 0;

  /** Enters a handle whose columns are set. The pair must not be in the index. */
  add(columns: SpiColumns, handle: number): void {
    if ((this.#size + 1) * 4 > this.#slots.length * 3) this.#rehash(columns, this.#slots.length * 2);
    this.#insert(columns, handle);
    this.#size++;
  }

  /** Handle of the pair, or -1. */
  find(columns: SpiColumns, i0: number, i1: number, r0: number, r1: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = hash(i0, i1, r0, r1) & mask; ; slot = (slot + 1) & mask) {
      const handle = this.#slots[slot]!;
      if (handle === EMPTY) return EMPTY;
      if (
        columns.spiR1[handle]! === r1 &&
        columns.spiR0[handle]! === r0 &&
        columns.spiI1[handle]! === i1 &&
        columns.spiI0[handle]! === i0
      )
        return handle;
    }
  }

  /** Removes a handle whose columns are still set. */
  remove(columns: SpiColumns, handle: number): void {
    const mask = this.#slots.length - 1;
    let hole = home(columns, handle, mask);
    while (this.#slots[hole]! !== handle) {
      if (this.#slots[hole]! === EMPTY) return;
      hole = (hole + 1) & mask;
    }
    // Close the gap so that no later entry becomes unreachable (Knuth, TAOCP 6.4, algorithm R).
    for (let slot = (hole + 1) & mask; this.#slots[slot]! !== EMPTY; slot = (slot + 1) & mask) {
      const origin = home(columns, this.#slots[slot]!, mask);
      if (((slot - origin) & mask) >= ((slot - hole) & mask)) {
        this.#slots[hole] = this.#slots[slot]!;
        hole = slot;
      }
    }
    this.#slots[hole] = EMPTY;
    this.#size--;
  }

  #insert(columns: SpiColumns, handle: number): void {
    const mask = this.#slots.length - 1;
    let slot = home(columns, handle, mask);
    while (this.#slots[slot]! !== EMPTY) slot = (slot + 1) & mask;
    this.#slots[slot] = handle;
  }

  #rehash(columns: SpiColumns, capacity: number): void {
    const old = this.#slots;
    this.#slots = new Int32Array(capacity).fill(EMPTY);
    for (const handle of old) if (handle !== EMPTY) this.#insert(columns, handle);
  }
}

function home(columns: SpiColumns, handle: number, mask: number): number {
  return hash(columns.spiI0[handle]!, columns.spiI1[handle]!, columns.spiR0[handle]!, columns.spiR1[handle]!) & mask;
}

/** SPIs are random, but their low bits name the shard: mix before masking. */
function hash(i0: number, i1: number, r0: number, r1: number): number {
  let h = Math.imul(i0 ^ Math.imul(r0, 0x85ebca6b), 0x9e3779b1);
  h = Math.imul(h ^ i1 ^ Math.imul(r1, 0xc2b2ae35), 0x27d4eb2f);
  return (h ^ (h >>> 15)) >>> 0;
}
