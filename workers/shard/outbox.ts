/** Messages of a shard to its main thread: gathered while it works, posted at the end of a tick. */

import type { Outcomes } from '../liveness/outcomes.ts';
import type { FromShard, Recovery, ShardVerdict, TracedEvent } from './protocol.ts';
import { VerdictRows } from './verdict-rows.ts';

/** How often outcomes of peers are posted to the main thread, ms; they are also posted before each verdict. */
const OUTCOMES_MS = 250;

export class Outbox {
  readonly #post: (message: FromShard) => void;
  readonly #verdicts = new VerdictRows();
  #recoveries: Recovery[] = [];
  #traced: TracedEvent[] = [];
  #delegatedHandles: number[] = [];
  #delegatedIds: number[] = [];
  #outcomesAt = Number.NEGATIVE_INFINITY;

  constructor(post: (message: FromShard) => void) {
    this.#post = post;
  }

  /** A peer was found dead. */
  verdict(verdict: ShardVerdict): void {
    this.#verdicts.add(verdict);
  }

  /** A suspected or dead peer lives. */
  recovered(recovery: Recovery): void {
    this.#recoveries.push(recovery);
  }

  /** Something happened to a peer that someone looks at. */
  traced(event: TracedEvent): void {
    this.#traced.push(event);
  }

  /** The headend shall ask a peer. */
  delegated(handle: number, probeId: number): void {
    this.#delegatedHandles.push(handle);
    this.#delegatedIds.push(probeId);
  }

  /** Posts what was gathered. Outcomes come before verdicts, because verdicts are judged by them. */
  flush(nowMs: number, outcomes: Outcomes): void {
    if (outcomes.changed && (!this.#verdicts.empty || nowMs - this.#outcomesAt >= OUTCOMES_MS)) {
      this.#outcomesAt = nowMs;
      this.#post({ type: 'outcomes', outcomes: outcomes.read() });
    }
    if (this.#traced.length > 0) {
      this.#post({ type: 'traced', events: this.#traced });
      this.#traced = [];
    }
    if (!this.#verdicts.empty) this.#post({ type: 'verdicts', rows: this.#verdicts.drain() });
    if (this.#recoveries.length > 0) {
      this.#post({ type: 'recovered', recoveries: this.#recoveries });
      this.#recoveries = [];
    }
    if (this.#delegatedHandles.length > 0) {
      const handles = Uint32Array.from(this.#delegatedHandles);
      this.#post({ type: 'delegated', handles, probeIds: Uint32Array.from(this.#delegatedIds) });
      this.#delegatedHandles = [];
      this.#delegatedIds = [];
    }
  }
}
