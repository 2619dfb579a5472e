/** A shard's lease as its owner keeps it: renewed, and taken again when Redis forgets it. */

import { always } from '../../../workers/base/always.ts';
import { ForgottenError, LostWritesError } from '../../../workers/base/errors.ts';
import type { Clock } from '../../base/clock.ts';
import { LEASE_MS } from '../../store/shard/lease.ts';
import type { ShardStore } from '../../store/shard/shard-store.ts';

/** If Redis has forgotten a shard, an owner without its headend waits so long for others to take it, ms. */
const RETAKE_MS = 3_000;
always(LEASE_MS < RETAKE_MS, 'whoever has the headend goes first');

export type LeaseEvents = {
  /** Redis lost what this owner wrote: it must be written again. */
  lostWrites(error: Error): void;
};

export class LeaseKeeper {
  readonly #store: Pick<ShardStore, 'renew' | 'retake' | 'takenUnix'>;
  readonly #clock: Clock;
  readonly #events: LeaseEvents;
  /** When the last successful renewal was sent, and when Redis first answered that it does not know the lease, ms on the clock. */
  #renewedAt: number;
  #forgottenAt: number | undefined;
  /** A time of Redis, Unix ms, and the latest moment at which it was that time, ms on the clock. */
  #redisClock: { readonly unix: number; readonly at: number };

  /** @param takenAt when taking the lease was begun, ms on the clock */
  constructor(
    store: Pick<ShardStore, 'renew' | 'retake' | 'takenUnix'>,
    clock: Clock,
    takenAt: number,
    events: LeaseEvents,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#events = events;
    this.#renewedAt = takenAt;
    this.#redisClock = { unix: store.takenUnix, at: clock.now() };
  }

  /** For how long Redis has not taken a renewal, ms. */
  get overdueMs(): number {
    return this.#clock.now() - this.#renewedAt;
  }

  /** Redis's time at a moment of the clock, at the earliest, Unix ms. */
  redisTime(at: number): number {
    return this.#redisClock.unix + at - this.#redisClock.at;
  }

  /** Prolongs the lease. Rejects as the store does, where it cannot be taken again. */
  async renew(headendConnected: boolean): Promise<void> {
    const sentAt = this.#clock.now();
    try {
      this.#noteTime(await this.#store.renew());
    } catch (error) {
      if (error instanceof LostWritesError) this.#events.lostWrites(error);
      else if (error instanceof ForgottenError && this.#mayRetake(headendConnected)) await this.#retake();
      else throw error;
    }
    this.#renewedAt = sentAt;
    this.#forgottenAt = undefined;
  }

  /** Takes the shard that Redis has forgotten, unless another has. */
  async #retake(): Promise<void> {
    const { takenUnix, lost } = await this.#store.retake();
    this.#noteTime(takenUnix);
    if (lost) this.#events.lostWrites(new LostWritesError('what was written under the former epoch'));
  }

  #noteTime(unix: number): void {
    this.#redisClock = { unix, at: this.#clock.now() };
  }

  #mayRetake(headendConnected: boolean): boolean {
    const now = this.#clock.now();
    this.#forgottenAt ??= now;
    return headendConnected || now - this.#forgottenAt >= RETAKE_MS;
  }
}
