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
export function saHash(spi: SpiWords, revision: number): bigint {
  let high = OFFSET_HIGH;
  let low = OFFSET_LOW;
  const mix = (word: number) => {
    for (let shift = 24; shift >= 0; shift -= 8) {
      low = (low ^ ((word >>> shift) & 0xff)) >>> 0;
      const product = low * PRIME_LOW;
      high = (high * PRIME_LOW + Math.floor(product / 2 ** 32) + low * 2 ** 8) >>> 0;
      low = product >>> 0;
    }
  };
  for (const word of spi) mix(word);
  mix(revision);
  return (BigInt(high) << 32n) | BigInt(low);
}
