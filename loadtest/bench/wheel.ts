/** The timing wheel beside a binary heap: every timer set, set again, and run out. */

import { TimingWheel } from '../../workers/liveness/wheel.ts';
import { cpuNanosPerOperation, type Result, round } from './measure.ts';

const TIMERS = 200_000;
const SPAN_MS = 30_000;

export async function wheel(): Promise<Result> {
  const due = Float64Array.from({ length: TIMERS }, (_, n) => 1 + ((Math.imul(n + 1, 0x9e3779b1) >>> 0) % SPAN_MS));
  let fired = 0;
  const count = () => {
    fired++;
  };
  const allFired = () => {
    if (fired !== TIMERS) throw new Error(`${fired} timers fired, expected ${TIMERS}`);
    fired = 0;
  };
  const ours = cpuNanosPerOperation(TIMERS * 3, () => {
    const timers = new TimingWheel(0, TIMERS);
    for (let handle = 0; handle < TIMERS; handle++) timers.schedule(handle, due[handle]!);
    for (let handle = 0; handle < TIMERS; handle++) timers.schedule(handle, due[TIMERS - 1 - handle]!);
    for (let now = 0; now <= SPAN_MS + 10; now += 5) timers.advance(now, count);
    allFired();
  });
  const baseline = cpuNanosPerOperation(TIMERS * 3, () => {
    const heap = new Heap(TIMERS);
    for (let handle = 0; handle < TIMERS; handle++) heap.push(due[handle]!, handle);
    for (let handle = 0; handle < TIMERS; handle++) heap.replace(handle, due[TIMERS - 1 - handle]!);
    while (heap.size > 0) {
      heap.pop();
      fired++;
    }
    allFired();
  });
  return {
    timers: TIMERS,
    ns_per_operation: ours,
    bytes_per_timer: 4 + 4 + 2 + 8,
    baseline,
    ratio: round(ours / baseline),
  };
}

/** A binary heap with positions, on typed arrays: the strongest plain rival. */
class Heap {
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

  pop(): number {
    const first = this.#handle[0]!;
    this.size--;
    if (this.size > 0) {
      this.#place(0, this.#at[this.size]!, this.#handle[this.size]!);
      this.#down(0);
    }
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
