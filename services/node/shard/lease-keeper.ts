/**
 * A shard's lease as its owner keeps it: renewed, taken again when Redis forgets it, and told to the thread, which probes
 * by it.
 */

import type { Ownership } from '../../../workers/liveness/interlock.ts';
import type { Clock } from '../../base/clock.ts';
import { ForgottenError, LostWritesError } from '../../store/redis/scripts.ts';
import { LEASE_MS, LEASELESS_MS, LOST_MS, MOST_LOST_MS } from '../../store/shard/lease.ts';
import type { ShardStore } from '../../store/shard/shard-store.ts';

/** Waits before a shard that Redis has forgotten is taken again, ms. */
const RETAKE_MS = { attended: 3_000, alone: 10_000, longest: 60_000 };

export type LeaseEvents = {
  /** Redis lost what this owner wrote: it must be written again. */
  lost(error: Error): void;
  /** The shard may have been another's for so long. */
  doubt(missedMs: number): void;
};

export class LeaseKeeper {
  readonly #store: ShardStore;
  readonly #clock: Clock;
  readonly #events: LeaseEvents;
  /** When the last renewal that Redis took was sent, and when it first said that it knows nothing, ms on the clock. */
  #renewedAt: number;
  #forgottenAt: number | undefined;
  /** When this process was last seen running, ms on the clock; and whether it has stood still since the last renewal. */
  #awakeAt: number | undefined;
  #slept = false;
  /** Epoch that the headend was told last; and since when it is not connected, ms on the clock. */
  #toldEpoch: number;
  #leftAt: number | undefined;
  /**
   * Redis cannot lose any more that the shard is this owner's, with its headend. Until then others may have the shard as soon
   * as its lease is over: an owner that cannot renew it has no more time than that.
   */
  #surelyAttended = false;
  /** Redis's time, Unix ms, and when at the latest it was that, ms on the clock. */
  #redisClock: { readonly unix: number; readonly at: number };
  /** Nobody else can believe any more that the shard is his: ms on the clock. */
  #ownFromMs: number;

  /** @param takenAt when taking the lease was begun, ms on the clock */
  constructor(store: ShardStore, clock: Clock, takenAt: number, events: LeaseEvents) {
    this.#store = store;
    this.#clock = clock;
    this.#events = events;
    this.#renewedAt = takenAt;
    this.#toldEpoch = store.epoch;
    this.#ownFromMs = clock.now() + store.formerRemainingMs;
    this.#redisClock = { unix: store.takenUnix, at: clock.now() };
  }

  /** For how long the shard is ours, as far as is known. */
  get ownership(): Ownership {
    return {
      fromMs: this.#ownFromMs,
      untilMs: this.#renewedAt + LEASE_MS,
      vouchedUntilMs: this.#renewedAt + (this.#surelyAttended ? LEASELESS_MS : LEASE_MS),
    };
  }

  /** For how long Redis has not taken a renewal, ms. */
  get overdueMs(): number {
    return this.#clock.now() - this.#renewedAt;
  }

  /** This process runs: call several times within the time of a lease. */
  awake(): void {
    const now = this.#clock.now();
    if (this.#awakeAt !== undefined && now - this.#awakeAt >= LEASE_MS) this.#slept = true;
    this.#awakeAt = now;
  }

  /** Redis's time at a moment of the clock, at the earliest, Unix ms. */
  redisTime(at: number): number {
    return this.#redisClock.unix + at - this.#redisClock.at;
  }

  /** Prolongs the lease. Rejects as the store does, where it cannot be taken again. */
  async renew(attended: boolean): Promise<void> {
    try {
      const sentAt = this.#clock.now();
      // Who stands still while he waits for the answer does not know how old it is.
      const slept = this.#slept;
      await this.#prolong(attended);
      if (slept) await this.#takeAnew(attended, this.overdueMs);
      else if (!attended && this.#lapsed) await this.#takeAnew(attended, this.#lostByRedisMs);
      else this.#keep(sentAt);
    } catch (error) {
      if (error instanceof LostWritesError) this.#lost(error);
      else if (error instanceof ForgottenError && this.#mayRetake(attended)) await this.#retake(attended);
      else throw error;
    }
  }

  /**
   * The headend has come: it says whose the shard is, even if Redis does not know. Rejects as the store does.
   * @param lastEpoch under which it had the shard last, here or elsewhere; 0 if it does not know
   */
  async claim(lastEpoch: number): Promise<void> {
    this.awake();
    try {
      await this.#prolong(true);
    } catch (error) {
      if (error instanceof LostWritesError) this.#lost(error);
      else if (error instanceof ForgottenError) await this.#retake(true);
      else throw error;
    }
    const now = this.#clock.now();
    if (this.#slept) await this.#takeAnew(true, this.overdueMs);
    else if (lastEpoch > this.#toldEpoch)
      await this.#takeAnew(true, Math.min(now - Math.min(this.#renewedAt, this.#leftAt ?? now), MOST_LOST_MS));
    else if (this.#lapsed) await this.#takeAnew(true, this.#lostByRedisMs);
    this.#toldEpoch = this.#store.epoch;
    this.#leftAt = undefined;
  }

  /** The headend is gone, perhaps to another node. */
  left(): void {
    this.#leftAt ??= this.#clock.now();
    this.#surelyAttended = false;
  }

  /** Nobody had to ask this owner before he took the shard. */
  get #lapsed(): boolean {
    return this.overdueMs >= LEASE_MS;
  }

  /** For how long another can have had the shard meanwhile whom Redis does not know of any more, ms. */
  get #lostByRedisMs(): number {
    return Math.min(this.overdueMs, MOST_LOST_MS);
  }

  /** Redis lost writes, and with them perhaps that the headend is connected. */
  #lost(error: Error): void {
    this.#surelyAttended = false;
    this.#events.lost(error);
  }

  /** Takes the shard that Redis has forgotten, unless another has; what others did with it meanwhile is not known. */
  async #retake(attended: boolean): Promise<void> {
    const missedMs = this.overdueMs;
    await this.#take({ attended, unstoppedMs: 0 });
    if (missedMs >= LEASE_MS) this.#events.doubt(missedMs);
  }

  /**
   * The lease ran out, or the headend says that another had it. If another had it and Redis lost that again, it is fenced
   * off now, and has stopped when this one begins.
   */
  async #takeAnew(attended: boolean, missedMs: number): Promise<void> {
    await this.#take({ attended, unstoppedMs: LEASE_MS });
    this.#events.doubt(missedMs);
  }

  async #take(taking: Parameters<ShardStore['retake']>[0]): Promise<void> {
    const sentAt = this.#clock.now();
    const { takenUnix, formerRemainingMs, attendedSinceUnix, lost } = await this.#store.retake(taking);
    this.#ownFromMs = Math.max(this.#ownFromMs, this.#clock.now() + formerRemainingMs);
    this.#told(taking.attended, takenUnix, attendedSinceUnix);
    this.#keep(sentAt);
    this.#slept = false;
    // Redis may have failed over, or come back empty, since it took the last renewal.
    if (lost) this.#events.lost(new LostWritesError('what was written under the former epoch'));
  }

  async #prolong(attended: boolean): Promise<void> {
    const { nowUnix, attendedSinceUnix } = await this.#store.renew(attended);
    this.#told(attended, nowUnix, attendedSinceUnix);
  }

  #told(attended: boolean, nowUnix: number, attendedSinceUnix: number): void {
    this.#redisClock = { unix: nowUnix, at: this.#clock.now() };
    this.#surelyAttended = attended && nowUnix - attendedSinceUnix >= LOST_MS;
  }

  /** Redis has taken what was sent then. */
  #keep(sentAt: number): void {
    this.#renewedAt = sentAt;
    this.#forgottenAt = undefined;
  }

  /**
   * Whoever has had the shard all the time takes it again at once; one that was cut off or suspended may have lost it
   * unknowingly, and lets others go first: a headend's stream that stands speaks for it, and the less time it has missed.
   */
  #mayRetake(attended: boolean): boolean {
    const now = this.#clock.now();
    this.#forgottenAt ??= now;
    if (!this.#lapsed) return true;
    const waitMs = attended ? RETAKE_MS.attended : RETAKE_MS.alone + Math.min(this.overdueMs, RETAKE_MS.longest);
    return now - this.#forgottenAt >= waitMs;
  }
}
