/** Byte strings of any length up to 4 KiB by number, in slabs: without an object for each. */

import { Slab } from '../../workers/slab.ts';

/** Slabs are for multiples of this. */
const STEP = 8;
const CLASSES = 512;
const LENGTH_BYTES = 2;
export const LONGEST = CLASSES * STEP - LENGTH_BYTES;

export class ByteStore {
  readonly #slabs: (Slab | undefined)[] = [];

  /** Keeps a copy. Returns its number, which is never 0. Throws RangeError past {@link LONGEST}. */
  put(bytes: Uint8Array): number {
    if (bytes.length > LONGEST) throw new RangeError(`${bytes.length} bytes, at most ${LONGEST}`);
    const size = Math.floor((bytes.length + LENGTH_BYTES - 1) / STEP);
    let slab = this.#slabs[size];
    if (!slab) {
      slab = new Slab((size + 1) * STEP);
      this.#slabs[size] = slab;
    }
    const slot = slab.take();
    const block = slab.block(slot);
    const at = slab.offset(slot);
    block[at] = bytes.length >>> 8;
    block[at + 1] = bytes.length;
    block.set(bytes, at + LENGTH_BYTES);
    return slot * CLASSES + size + 1;
  }

  /** The bytes, as a view that is good until they are dropped. */
  get(number: number): Uint8Array {
    const slot = Math.floor((number - 1) / CLASSES);
    const slab = this.#slabs[(number - 1) % CLASSES]!;
    const block = slab.block(slot);
    const at = slab.offset(slot);
    const length = block[at]! * 256 + block[at + 1]!;
    return block.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  drop(number: number): void {
    this.#slabs[(number - 1) % CLASSES]!.drop(Math.floor((number - 1) / CLASSES));
  }
}
