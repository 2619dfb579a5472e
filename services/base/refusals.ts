/** Inputs that were refused, by source. All are counted, but only some are logged, because a source of bad input sends much of it. */

import type { Logger } from './log.ts';

/** Shortest time between two log lines for one source, ms. */
const TOLD_MS = 10_000;

export type Source = 'bus' | 'redis' | 'ha';

export class Refusals {
  readonly #log: Logger;
  readonly #counts = new Map<Source, number>();
  /** When each source was logged last, ms of performance.now(). */
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
