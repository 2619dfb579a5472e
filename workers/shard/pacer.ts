/**
 * The budget of probes a second, shared by all shards of a thread. Probes beyond it are sent as soon as the budget
 * allows, the longest overdue first. It is a token bucket that holds the probes of a few ticks, so that answers are
 * read between bursts.
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
