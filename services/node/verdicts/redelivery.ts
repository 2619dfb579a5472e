/**
 * Which verdicts are sent again on a headend's stream. An open stream loses nothing: an agent that has not answered is still
 * applying the verdict, or its answer was not stored, which is known. So a verdict without an answer is sent less and less often,
 * and not at all once the agent has said that it is applying it. A new stream begins anew.
 */

/** A verdict not acknowledged is delivered again after this, ms; then after twice as long, and so on. */
const AGAIN_MS = { first: 10_000, longest: 300_000 };
/** Maximum number of verdicts delivered again in one turn: several times what a hub applies until the next turn. */
const MOST = 2_000;

type Delivery = { readonly atMs: number; readonly waitMs: number };

export class Redelivery {
  /** For verdicts that wait for their acknowledgement: when each attempt was delivered last, by its name, and how long not to repeat it. */
  readonly #deliveries = new Map<string, Delivery>();

  /** It was sent on the stream. */
  delivered(name: string, nowMs: number): void {
    const before = this.#deliveries.get(name);
    const waitMs = before ? Math.min(2 * before.waitMs, AGAIN_MS.longest) : AGAIN_MS.first;
    this.#deliveries.set(name, { atMs: nowMs, waitMs });
  }

  /** The headend says that it is applying it. */
  underWay(name: string, nowMs: number): void {
    if (this.#deliveries.has(name)) this.#deliveries.set(name, { atMs: nowMs, waitMs: Number.POSITIVE_INFINITY });
  }

  /** The headend's answer could not be stored: the verdict must be sent again. */
  answerLost(name: string): void {
    this.#deliveries.delete(name);
  }

  /** Whether it is time to deliver it. */
  isDue(name: string, nowMs: number): boolean {
    const delivery = this.#deliveries.get(name);
    return delivery === undefined || nowMs - delivery.atMs >= delivery.waitMs;
  }

  /**
   * Which of the waiting verdicts are delivered in this turn: first those that this stream has not seen yet.
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
