/** The demo's book of deaths: which spoke died when, as the spokes report, and which verdicts came. */

import type { Verdict } from '../../proto/gen/dpd/v1/types_pb.js';

type Death = { killedUnix: number; earliestUnix: number; verdicts: string[]; receivedUnix: number };

export class Ledger {
  readonly #detectionMs: number;
  readonly #deaths = new Map<string, Death>();
  readonly #false: Verdict[] = [];
  #registeredUnix = 0;
  failovers = 0;

  /** @param detectionMs interval + retries x retry interval */
  constructor(detectionMs: number) {
    this.#detectionMs = detectionMs;
  }

  /** Every SA is watched from now on: a peer never heard from counts from here. */
  registered(unix: number): void {
    this.#registeredUnix = unix;
  }

  expect(peer: string, killedUnix: number): void {
    this.#deaths.set(peer, { killedUnix, earliestUnix: Number.NaN, verdicts: [], receivedUnix: Number.NaN });
  }

  /** The spoke is dead; it says when it last answered. */
  killed(peer: string, lastAnswerUnix: number): void {
    const death = this.#deaths.get(peer)!;
    death.earliestUnix = Math.max(lastAnswerUnix, this.#registeredUnix) + this.#detectionMs;
  }

  /** The data plane has a verdict. Traffic may be later evidence than the last answer: then the node's word counts. */
  verdict(verdict: Verdict, receivedUnix: number): void {
    const death = this.#deaths.get(verdict.peerId);
    if (!death || verdict.deadEndpoint !== 0) {
      this.#false.push(verdict);
      return;
    }
    const evidence = Number(verdict.history!.lastEvidenceUnixMs) + this.#detectionMs;
    if (Math.min(evidence, death.killedUnix + this.#detectionMs) > death.earliestUnix)
      death.earliestUnix = Math.min(evidence, death.killedUnix + this.#detectionMs);
    death.verdicts.push(verdict.id);
    if (death.verdicts.length === 1) death.receivedUnix = receivedUnix;
  }

  get received(): number {
    return [...this.#deaths.values()].filter((death) => death.verdicts.length > 0).length;
  }

  get expected(): number {
    return this.#deaths.size;
  }

  get complete(): boolean {
    return this.received === this.expected;
  }

  /** Lateness of the verdicts so far, ms, sorted. */
  latenesses(): number[] {
    return [...this.#deaths.values()]
      .filter((death) => death.verdicts.length > 0)
      .map((death) => death.receivedUnix - death.earliestUnix)
      .sort((a, b) => a - b);
  }

  report() {
    const late = this.latenesses();
    const ids = [...this.#deaths.values()].flatMap((death) => death.verdicts);
    return {
      expected: this.expected,
      verdicts: new Set(ids).size,
      // A verdict on a spoke that lived, or given before its time: both would have hurt a live peer.
      false_verdicts: this.#false.length + late.filter((ms) => ms < -EARLY_TOLERANCE_MS).length,
      missed: this.expected - this.received,
      lateness_ms: { p50: round(quantile(late, 0.5)), p99: round(quantile(late, 0.99)), max: round(late.at(-1) ?? 0) },
    };
  }
}

/** The value that this share of sorted ones is not above; 0 without any. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** Clocks of two processes are read in whole ms. */
const EARLY_TOLERANCE_MS = 5;

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
