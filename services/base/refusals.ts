/** Inputs that were refused, by where they came from: all counted, and some told, for whoever sends junk sends much of it. */

import type { Logger } from './log.ts';

/** How often what comes from one place is told, ms. */
const TOLD_MS = 10_000;

export type Source = 'bus' | 'redis' | 'ha';

export class Refusals {
  readonly #log: Logger;
  readonly #counts = new Map<Source, number>();
  /** When each was told last, ms of performance.now(). */
  readonly #toldAt = new Map<Source, number>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Something was refused. @param reason says what, and where it is */
  note(source: Source, reason: string): void {
    const count = (this.#counts.get(source) ?? 0) + 1;
    this.#counts.set(source, count);
    const now = performance.now();
    if (now - (this.#toldAt.get(source) ?? Number.NEGATIVE_INFINITY) < TOLD_MS) return;
    this.#toldAt.set(source, now);
    this.#log.error({ source, reason, refused: count }, 'input refused');
  }

  /** How many so far, of each source that sent some. */
  get counts(): ReadonlyMap<Source, number> {
    return this.#counts;
  }
}
