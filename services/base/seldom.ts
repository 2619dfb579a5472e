/** Log lines that an outage would bring again and again: the first comes at once, then one a minute, with how many there were. */

import type { Logger } from './log.ts';

/** Shortest time between two lines with the same text, ms. */
const EVERY_MS = 60_000;

/** What those who are told need of it. */
export type Outages = Pick<Seldom, 'warn'>;

type Told = { atMs: number; since: number };

/** A log of its own for each text: only the latest facts are kept of lines that are left out. */
export class Seldom {
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #told = new Map<string, Told>();

  /** @param now ms, monotonic */
  constructor(log: Logger, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** A warning. @param text the same for all that are told together */
  warn(facts: Readonly<Record<string, unknown>>, text: string): void {
    const told = this.#told.get(text);
    const now = this.#now();
    if (told && now - told.atMs < EVERY_MS) {
      told.since++;
      return;
    }
    this.#told.set(text, { atMs: now, since: 0 });
    this.#log.warn(told && told.since > 0 ? { ...facts, leftOut: told.since } : facts, text);
  }
}
