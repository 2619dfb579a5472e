/**
 * The budget that probes are paced under: so many a second, for all shards of a thread together. What it does not cover
 * now is sent as soon as it does, the longest overdue first. A token bucket that holds a few ticks' worth, so that
 * answers are read between bursts.
 */

/** The bucket holds what flows in in this time, ms. */
const BURST_MS = 20;

export class Pacer {
  readonly #perMs: number;
  #tokens: number;
  #filledAt: number;

  /** @param perSecond probes; Infinity: no limit */
  constructor(perSecond: number, nowMs: number) {
    this.#perMs = perSecond / 1_000;
    this.#tokens = this.#perMs * BURST_MS;
    this.#filledAt = nowMs;
  }

  /** Lets time pass. */
  fill(nowMs: number): void {
    const flow = (nowMs - this.#filledAt) * this.#perMs;
    if (flow > 0) this.#tokens = Math.min(this.#tokens + flow, this.#perMs * BURST_MS);
    this.#filledAt = nowMs;
  }

  /** Whether a probe may be sent now. */
  get open(): boolean {
    return this.#tokens >= 1;
  }

  /** A probe was sent. */
  spend(): void {
    this.#tokens--;
  }
}
