/**
 * Verdicts of one shard that the storm guard keeps back: visible, taken back when the peer answers, given when the
 * storm is over or an operator says so, a few at a time.
 */

import type { Clock } from '../../base/clock.ts';
import type { Decision } from './decision.ts';
import type { StormReason } from './storm-guard.ts';

export type HoldSettings = {
  /** A verdict is held no longer than this, ms. */
  readonly longestMs: number;
  /** What then becomes of it. */
  readonly onExpiry: 'release' | 'drop';
  /** Verdicts that a shard gives per second when it lets go. */
  readonly releasePerSecond: number;
};

export type HeldVerdict = {
  readonly decision: Decision;
  /** Number of the SA's site label. */
  readonly site: number;
  readonly reason: StormReason;
  /** When it was first held, ms on the clock. */
  readonly sinceMs: number;
};

/** What to do with verdicts that were held. */
export type Settled = { readonly release: readonly HeldVerdict[]; readonly drop: readonly HeldVerdict[] };

export class HeldVerdicts {
  readonly #settings: HoldSettings;
  readonly #clock: Clock;
  readonly #held = new Map<number, HeldVerdict>();
  readonly counters = { held: 0, cancelled: 0, released: 0, dropped: 0 };
  /** An operator's word about those held now. */
  #decided: 'release' | 'drop' | undefined;

  constructor(settings: HoldSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
  }

  get count(): number {
    return this.#held.size;
  }

  values(): IterableIterator<HeldVerdict> {
    return this.#held.values();
  }

  add(held: Omit<HeldVerdict, 'sinceMs'>): void {
    this.#held.set(held.decision.handle, { ...held, sinceMs: this.#clock.now() });
    this.counters.held++;
  }

  /** The peer answered, or its SA is gone. False if nothing was held. */
  cancel(handle: number): boolean {
    const known = this.#held.delete(handle);
    if (known) this.counters.cancelled++;
    return known;
  }

  /** Nobody knows any more which peers these were about. */
  dropAll(): void {
    this.counters.dropped += this.#held.size;
    this.#held.clear();
  }

  /** An operator decides for all that are held now. Returns how many there are. */
  decide(action: 'release' | 'drop'): number {
    this.#decided = action;
    return this.#held.size;
  }

  /** Takes out what may go. Call once a second. @param stormy whether a reason still stands */
  settle(stormy: (held: HeldVerdict) => boolean): Settled {
    const now = this.#clock.now();
    const release: HeldVerdict[] = [];
    const drop: HeldVerdict[] = [];
    for (const held of this.#held.values()) {
      const expired = now - held.sinceMs >= this.#settings.longestMs;
      const action = this.#decided ?? (expired ? this.#settings.onExpiry : stormy(held) ? undefined : 'release');
      if (action === 'drop') drop.push(held);
      else if (action === 'release' && release.length < this.#settings.releasePerSecond) release.push(held);
    }
    for (const { decision } of [...release, ...drop]) this.#held.delete(decision.handle);
    this.counters.released += release.length;
    this.counters.dropped += drop.length;
    if (this.#held.size === 0) this.#decided = undefined;
    return { release, drop };
  }
}
