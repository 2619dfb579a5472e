/** Records of one size, in blocks: a million records are a few arrays, and growing copies nothing. */

const BLOCK_BITS = 8;
const BLOCK = 1 << BLOCK_BITS;

export class Slab {
  /** Bytes of a record. */
  readonly stride: number;
  readonly #blocks: Uint8Array[] = [];
  readonly #free: number[] = [];
  #used = 0;

  constructor(stride: number) {
    this.stride = stride;
  }

  /** A slot for a new record; its bytes are zero. */
  allocate(): number {
    const slot = this.#free.pop() ?? this.#used++;
    if (slot >>> BLOCK_BITS >= this.#blocks.length) this.#blocks.push(new Uint8Array(BLOCK * this.stride));
    return slot;
  }

  /** Wipes a record; its slot may be given to another. */
  drop(slot: number): void {
    const at = this.offset(slot);
    this.block(slot).fill(0, at, at + this.stride);
    this.#free.push(slot);
  }

  /** Wipes all records. */
  wipe(): void {
    for (const block of this.#blocks) block.fill(0);
  }

  /** The block that holds a record, at {@link offset}. */
  block(slot: number): Uint8Array {
    return this.#blocks[slot >>> BLOCK_BITS]!;
  }

  offset(slot: number): number {
    return (slot & (BLOCK - 1)) * this.stride;
  }
}
