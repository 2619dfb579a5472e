/** Byte strings of any length up to 4 KiB by number, in slabs: without an object for each. */

import { copy } from '../../../workers/base/bytes.ts';
import { Slab } from '../../../workers/base/slab.ts';

/** Slabs are for multiples of this. */
const STEP = 8;
const CLASSES = 512;
const LENGTH_BYTES = 2;
export const LONGEST = CLASSES * STEP - LENGTH_BYTES;

export class ByteStore {
  readonly #slabs: (Slab | undefined)[] = [];

  /** Keeps a copy. Returns its number, which is never 0. Throws RangeError past {@link LONGEST}. */
  put(bytes: Uint8Array, length = bytes.length): number {
    if (length > LONGEST) throw new RangeError(`${length} bytes, at most ${LONGEST}`);
    const size = Math.floor((length + LENGTH_BYTES - 1) / STEP);
    let slab = this.#slabs[size];
    if (!slab) {
      slab = new Slab((size + 1) * STEP);
      this.#slabs[size] = slab;
    }
    const slot = slab.allocate();
    const block = slab.block(slot);
    const at = slab.offset(slot);
    block[at] = length >>> 8;
    block[at + 1] = length;
    copy(bytes, 0, block, at + LENGTH_BYTES, length);
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
