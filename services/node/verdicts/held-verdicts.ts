/**
 * Verdicts of one shard that the storm guard keeps back. They can be listed, and are taken back when the peer answers. When the
 * storm is over, each peer is probed again, with all retries, a few at a time; only another verdict counts. An operator may
 * confirm them.
 */

import type { Clock } from '../../base/clock.ts';
import type { Decision } from './decision.ts';
import type { StormReason } from './storm-guard.ts';

export type HoldSettings = {
  /** Longest time that a verdict is held, ms; then its peer is probed again, even if the storm goes on. */
  readonly longestMs: number;
  /** The same if only a few peers were probed and all of them are silent, ms. */
  readonly smallMs: number;
  /** What is done with a peer that is silent again after that. */
  readonly onExpiry: 'release' | 'drop';
  /** Peers that a shard probes again per second. */
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
export type Swept = {
  /** Probe these peers again. */
  readonly ask: readonly HeldVerdict[];
  /** These are given: an operator decided so. */
  readonly give: readonly HeldVerdict[];
  /** These are forgotten, and their peers suspected anew. */
  readonly drop: readonly HeldVerdict[];
};

export class HeldVerdicts {
  readonly #settings: HoldSettings;
  readonly #clock: Clock;
  readonly #held = new Map<number, HeldVerdict>();
  /** Peers that are probed again, and whether their next verdict counts even in a storm. */
  readonly #asked = new Map<number, { readonly held: HeldVerdict; readonly expired: boolean }>();
  readonly counters = { held: 0, cancelled: 0, released: 0, dropped: 0 };
  /** An operator's decision on those held now. */
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

  /** Holds a verdict. If the peer was probed again after a held verdict, the time of holding goes on. */
  add(held: Omit<HeldVerdict, 'sinceMs'>): void {
    const { handle } = held.decision;
    const before = this.#asked.get(handle)?.held;
    this.#asked.delete(handle);
    this.#held.set(handle, { ...held, sinceMs: before?.sinceMs ?? this.#clock.now() });
    if (!before) this.counters.held++;
  }

  /** Whether this peer's verdict counts even in a storm: it was held for too long, and the peer was probed again. */
  expired(handle: number): boolean {
    return this.#asked.get(handle)?.expired === true;
  }

  /**
   * The peer was probed again and did not answer: its verdict is given. Returns how it was held, undefined if it was not.
   */
  confirm(handle: number): HeldVerdict | undefined {
    const asked = this.#asked.get(handle);
    if (!asked) return undefined;
    this.#asked.delete(handle);
    this.counters.released++;
    return asked.held;
  }

  /** The peer answered, or its SA is gone. False if nothing was held. */
  cancel(handle: number): boolean {
    const known = this.#held.delete(handle) || this.#asked.delete(handle);
    if (known) this.counters.cancelled++;
    return known;
  }

  /** Forgets all: the peers of these verdicts are not known any more. */
  dropAll(): void {
    this.counters.dropped += this.#held.size + this.#asked.size;
    this.#held.clear();
    this.#asked.clear();
  }

  /** An operator decides on all that are held now. Returns how many there are. */
  decide(action: 'release' | 'drop'): number {
    this.#decided = action;
    return this.#held.size;
  }

  /** Takes out the verdicts whose holding is over. Call once a second. @param stormy whether a reason still exists */
  sweep(stormy: (held: HeldVerdict) => boolean): Swept {
    const swept = { ask: [] as HeldVerdict[], give: [] as HeldVerdict[], drop: [] as HeldVerdict[] };
    const { releasePerSecond } = this.#settings;
    for (const held of this.#held.values()) {
      if (this.#decided === 'drop') swept.drop.push(held);
      else if (this.#decided === 'release') {
        if (swept.give.length < releasePerSecond) swept.give.push(held);
      } else this.#sweepOne(held, stormy, swept);
    }
    for (const { decision } of [...swept.ask, ...swept.give, ...swept.drop]) this.#held.delete(decision.handle);
    this.counters.released += swept.give.length;
    this.counters.dropped += swept.drop.length;
    if (this.#held.size === 0) this.#decided = undefined;
    return swept;
  }

  #sweepOne(
    held: HeldVerdict,
    stormy: (held: HeldVerdict) => boolean,
    { ask, drop }: { ask: HeldVerdict[]; drop: HeldVerdict[] },
  ): void {
    const { longestMs, smallMs, onExpiry, releasePerSecond } = this.#settings;
    const expired = this.#clock.now() - held.sinceMs >= (held.reason.small ? smallMs : longestMs);
    if (expired && onExpiry === 'drop') drop.push(held);
    else if ((expired || !stormy(held)) && ask.length < releasePerSecond) {
      this.#asked.set(held.decision.handle, { held, expired });
      ask.push(held);
    }
  }
}
