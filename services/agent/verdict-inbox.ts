/** Verdicts for the data plane: each is applied once, however often it is delivered, and acknowledged each time. */

import { Outcome, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import type { Logger } from '../base/log.ts';
import { durations } from '../telemetry/metrics.ts';
import { inSpan } from '../telemetry/traces.ts';
import type { Applied, Headend } from './headend/headend.ts';

/** Verdicts applied at the same time. */
const CONCURRENCY = 256;
/** Outcomes remembered, to answer repeated deliveries. */
const REMEMBERED = 20_000;
const DETAIL_LENGTH = 400;

export class VerdictInbox {
  readonly #headend: Headend;
  readonly #log: Logger;
  readonly #acknowledge: (verdict: Verdict, applied: Applied) => void;
  readonly #outcomes = new Map<string, Applied>();
  readonly #pending = new Map<string, Verdict>();
  #running = 0;
  readonly #durations = durations('dpd.verdict.apply.duration');

  constructor(headend: Headend, log: Logger, acknowledge: (verdict: Verdict, applied: Applied) => void) {
    this.#headend = headend;
    this.#log = log;
    this.#acknowledge = acknowledge;
  }

  /** Takes a delivery. Returns false if it is under way already. */
  receive(verdict: Verdict): boolean {
    const known = this.#outcomes.get(attemptOf(verdict));
    if (known) this.#acknowledge(verdict, known);
    else if (this.#pending.has(attemptOf(verdict))) return false;
    else {
      this.#pending.set(attemptOf(verdict), verdict);
      void this.#work();
    }
    return true;
  }

  async #work(): Promise<void> {
    if (this.#running >= CONCURRENCY) return;
    this.#running++;
    for (let next = this.#claim(); next; next = this.#claim()) {
      const begun = performance.now();
      const applied = await this.#apply(next);
      this.#durations.record((performance.now() - begun) / 1_000, { 'dpd.outcome': Outcome[applied.outcome] });
      this.#outcomes.set(attemptOf(next), applied);
      this.#pending.delete(attemptOf(next));
      if (this.#outcomes.size > REMEMBERED) this.#outcomes.delete(this.#outcomes.keys().next().value!);
      this.#acknowledge(next, applied);
    }
    this.#running--;
  }

  readonly #claimed = new WeakSet<Verdict>();

  #claim(): Verdict | undefined {
    for (const verdict of this.#pending.values())
      if (!this.#claimed.has(verdict)) {
        this.#claimed.add(verdict);
        return verdict;
      }
    return undefined;
  }

  async #apply(verdict: Verdict): Promise<Applied> {
    try {
      const applied = await inSpan('dpd.failover', verdict.traceparent, async (span) => {
        const result = await this.#headend.apply(verdict);
        span.setAttributes({ 'dpd.verdict.id': verdict.id, 'dpd.outcome': Outcome[result.outcome] });
        return result;
      });
      this.#log.info(
        { verdict: verdict.id, peer: verdict.peerId, outcome: Outcome[applied.outcome], detail: applied.detail },
        'verdict applied',
      );
      return applied;
    } catch (error) {
      const reason = (error as Error).message;
      this.#log.error({ verdict: verdict.id, peer: verdict.peerId, reason }, 'verdict not applied');
      return { outcome: Outcome.FAILOVER_FAILED, detail: reason.slice(0, DETAIL_LENGTH) };
    }
  }
}

/** Each attempt of a verdict is applied separately. */
function attemptOf({ id, attempt }: Verdict): string {
  return `${id}/${attempt}`;
}
