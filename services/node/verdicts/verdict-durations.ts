/** How long the verdicts of a shard take: from a peer's last evidence to the data plane's answer. For metrics. */

import type { ShardVerdict } from '../../../workers/shard/protocol.ts';
import { durations } from '../../telemetry/metrics.ts';

/** Verdicts that wait for an answer, at most; the oldest are forgotten, and their failovers not measured. */
const MOST_UNANSWERED = 20_000;

export class VerdictDurations {
  readonly #detection = durations('dpd.detection.duration');
  readonly #lateness = durations('dpd.verdict.lateness');
  readonly #log = durations('dpd.verdict.log.duration');
  readonly #failover = durations('dpd.failover.duration');
  readonly #where: { readonly 'dpd.headend': string };
  /** When each verdict was decided, Unix ms, by its id. */
  readonly #decidedUnix = new Map<string, number>();

  constructor(headend: string) {
    this.#where = { 'dpd.headend': headend };
  }

  /** A verdict is about to be written. */
  given(id: string, { lastEvidenceUnix, earliestUnix, decidedUnix }: ShardVerdict): void {
    if (lastEvidenceUnix > 0) this.#detection.record(seconds(decidedUnix - lastEvidenceUnix), this.#where);
    this.#lateness.record(seconds(decidedUnix - earliestUnix), this.#where);
    if (this.#decidedUnix.size >= MOST_UNANSWERED) this.#decidedUnix.delete(this.#decidedUnix.keys().next().value!);
    this.#decidedUnix.set(id, decidedUnix);
  }

  /** It is in Redis. */
  logged(id: string, nowUnix: number): void {
    const decided = this.#decidedUnix.get(id);
    if (decided !== undefined) this.#log.record(seconds(nowUnix - decided), this.#where);
  }

  /** The data plane has answered. @param over whether its failover ends with that */
  acknowledged(id: string, outcome: string, over: boolean, nowUnix: number): void {
    const decided = this.#decidedUnix.get(id);
    if (decided === undefined) return;
    this.#failover.record(seconds(nowUnix - decided), { ...this.#where, 'dpd.outcome': outcome });
    if (over) this.#decidedUnix.delete(id);
  }
}

/** From ms; clocks of two threads may differ by a little. */
function seconds(ms: number): number {
  return Math.max(0, ms) / 1_000;
}
