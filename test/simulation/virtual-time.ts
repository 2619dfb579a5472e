/** Time that a simulation owns: events in order, and processes that may stop, stand still, or have a wrong clock. */

import type { Clock } from '../../services/base/clock.ts';

/** Unix time at which every simulation begins, ms. */
export const EPOCH_UNIX = 1_800_000_000_000;

/** Something that can crash or be suspended. */
export class Process {
  readonly name: string;
  alive = true;
  /** Nothing of it runs before, ms; see {@link VirtualTime.suspend}. */
  pausedUntil = 0;
  /** What would have run while it was suspended. */
  readonly held: Event[] = [];
  /** How far the machine's wall clock is off, ms; a process has it as it was when it began. */
  skewMs = 0;
  readonly bornSkewMs: number;

  constructor(name: string, skewMs = 0) {
    this.name = name;
    this.skewMs = skewMs;
    this.bornSkewMs = skewMs;
  }
}

type Event = { at: number; readonly order: number; readonly owner: Process | undefined; run: (() => void) | undefined };

export class VirtualTime {
  now = 0;
  /** Events run so far. */
  steps = 0;
  /** Ends the run. */
  failure: Error | undefined;
  #order = 0;
  readonly #heap: Event[] = [];
  /** A promise may have been settled: what waits for it runs before the next event. */
  #settled = false;

  /** Runs `work` at `at`, as part of `owner`: never if it has crashed, later if it is suspended. */
  at(at: number, owner: Process | undefined, work: () => void): () => void {
    const event: Event = { at: Math.max(at, this.now), order: this.#order++, owner, run: work };
    this.#push(event);
    return () => {
      event.run = undefined;
    };
  }

  /** Suspends a process; its events meanwhile run afterwards, in order. A longer suspension stays in force. */
  suspend(process: Process, until: number): void {
    process.pausedUntil = Math.max(process.pausedUntil, until);
  }

  /** Ends a suspension at once. */
  resume(process: Process): void {
    process.pausedUntil = Math.min(process.pausedUntil, this.now);
    this.#release(process);
  }

  /** Says that a promise was settled, so that its continuations run in this moment. */
  settled(): void {
    this.#settled = true;
  }

  /** Runs everything up to `until`. Rejects with the first error that an event throws. */
  async runUntil(until: number): Promise<void> {
    // What was begun outside an event runs first.
    await drained();
    for (;;) {
      const next = this.#heap[0];
      if (!next || next.at > until) break;
      this.#pop();
      const { run, owner } = next;
      if (!run || (owner && !owner.alive)) continue;
      if (owner && owner.pausedUntil > next.at) {
        if (owner.held.push(next) === 1) this.#wake(owner);
        continue;
      }
      this.now = next.at;
      this.steps++;
      run();
      if (this.#settled) {
        this.#settled = false;
        await drained();
      }
      if (this.failure) throw this.failure;
    }
    this.now = until;
  }

  /** The clock of a process. */
  clockOf(process: Process): Clock {
    return {
      now: () => this.now,
      wall: () => EPOCH_UNIX + this.now + process.bornSkewMs,
      sleep: (ms) =>
        new Promise((resolve) => {
          this.at(this.now + ms, process, () => {
            this.settled();
            resolve();
          });
        }),
      after: (ms, work) => {
        const run = () => {
          this.settled();
          work();
        };
        return this.at(this.now + ms, process, run);
      },
      every: (ms, work) => {
        let cancel: () => void;
        const turn = () => {
          cancel = this.at(this.now + ms, process, turn);
          this.settled();
          work();
        };
        cancel = this.at(this.now + ms, process, turn);
        return () => cancel();
      },
    };
  }

  #wake(process: Process): void {
    this.at(process.pausedUntil, undefined, () => {
      if (process.pausedUntil > this.now) this.#wake(process);
      else this.#release(process);
    });
  }

  #release(process: Process): void {
    for (const event of process.held.splice(0)) {
      event.at = this.now;
      this.#push(event);
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let n = heap.push(event) - 1;
    while (n > 0) {
      const parent = (n - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[n] = heap[parent]!;
      n = parent;
    }
    heap[n] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let n = 0;
    for (;;) {
      let child = 2 * n + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[n] = heap[child]!;
      n = child;
    }
    heap[n] = last;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Continuations of continuations that run before the next event. */
const HOPS = 24;

/**
 * Lets what waits for promises run. Microtasks run in the order in which they were queued, so each hop is one step of
 * every chain; a longer chain goes on beside the next event, in every run alike. (setImmediate would ask the kernel.)
 */
async function drained(): Promise<void> {
  for (let hop = 0; hop < HOPS; hop++) await undefined;
}
