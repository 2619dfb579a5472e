/**
 * Which verdicts go down a headend's stream once more. A stream that stands loses nothing: an agent that has not answered is still
 * at work, or its answer was not stored, which is known. So whoever does not answer is asked again less and less often, and not at
 * all once he has said that he is at work. A new stream begins anew.
 */

/** A verdict not acknowledged is delivered again after this, ms; then after twice as long, and so on. */
const AGAIN_MS = { first: 10_000, longest: 300_000 };
/** Verdicts delivered again in one turn at most: several times what a hub applies until the next. */
const MOST = 2_000;

type Delivery = { readonly atMs: number; readonly waitMs: number };

export class Redelivery {
  /** Of what waits for its acknowledgement: when each attempt was delivered last, by its name, and how long that holds. */
  readonly #deliveries = new Map<string, Delivery>();

  /** It went down the stream. */
  delivered(name: string, nowMs: number): void {
    const before = this.#deliveries.get(name);
    const waitMs = before ? Math.min(2 * before.waitMs, AGAIN_MS.longest) : AGAIN_MS.first;
    this.#deliveries.set(name, { atMs: nowMs, waitMs });
  }

  /** The headend says that it is at work on what it was given. */
  underWay(name: string, nowMs: number): void {
    if (this.#deliveries.has(name)) this.#deliveries.set(name, { atMs: nowMs, waitMs: Number.POSITIVE_INFINITY });
  }

  /** The headend's answer could not be stored: it is to be asked once more. */
  answerLost(name: string): void {
    this.#deliveries.delete(name);
  }

  /** Whether it is time to deliver it. */
  isDue(name: string, nowMs: number): boolean {
    const delivery = this.#deliveries.get(name);
    return delivery === undefined || nowMs - delivery.atMs >= delivery.waitMs;
  }

  /**
   * Which of those that wait for their acknowledgement are delivered in this turn: first what this stream has not seen yet.
   * @param waiting all that wait, as it was when this turn began; only they are remembered
   */
  turn(waiting: Iterable<string>, begunAtMs: number): string[] {
    const names = new Set(waiting);
    for (const [name, { atMs }] of this.#deliveries)
      if (!names.has(name) && atMs < begunAtMs) this.#deliveries.delete(name);
    const due = [...names].filter((name) => this.isDue(name, begunAtMs));
    const fresh = due.filter((name) => !this.#deliveries.has(name));
    const known = due.filter((name) => this.#deliveries.has(name));
    return [...fresh, ...known].slice(0, MOST);
  }
}
