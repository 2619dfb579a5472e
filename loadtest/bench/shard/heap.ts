/** A binary heap with positions, on typed arrays: the strongest plain rival of the timing wheel. */
export class Heap {
  readonly #at: Float64Array;
  readonly #handle: Int32Array;
  readonly #position: Int32Array;
  size = 0;

  constructor(capacity: number) {
    this.#at = new Float64Array(capacity);
    this.#handle = new Int32Array(capacity);
    this.#position = new Int32Array(capacity);
  }

  push(at: number, handle: number): void {
    this.#place(this.size++, at, handle);
    this.#up(this.size - 1);
  }

  replace(handle: number, at: number): void {
    const position = this.#position[handle]!;
    this.#at[position] = at;
    this.#up(position);
    this.#down(this.#position[handle]!);
  }

  remove(handle: number): void {
    const position = this.#position[handle]!;
    this.size--;
    if (position === this.size) return;
    this.#place(position, this.#at[this.size]!, this.#handle[this.size]!);
    this.#up(position);
    this.#down(position);
  }

  pop(): number {
    const first = this.#handle[0]!;
    this.remove(first);
    return first;
  }

  #place(position: number, at: number, handle: number): void {
    this.#at[position] = at;
    this.#handle[position] = handle;
    this.#position[handle] = position;
  }

  #swap(a: number, b: number): void {
    const at = this.#at[a]!;
    const handle = this.#handle[a]!;
    this.#place(a, this.#at[b]!, this.#handle[b]!);
    this.#place(b, at, handle);
  }

  #up(from: number): void {
    for (let child = from; child > 0; ) {
      const parent = (child - 1) >> 1;
      if (this.#at[parent]! <= this.#at[child]!) return;
      this.#swap(parent, child);
      child = parent;
    }
  }

  #down(from: number): void {
    for (let parent = from; ; ) {
      let least = parent;
      for (const child of [2 * parent + 1, 2 * parent + 2])
        if (child < this.size && this.#at[child]! < this.#at[least]!) least = child;
      if (least === parent) return;
      this.#swap(least, parent);
      parent = least;
    }
  }
}
