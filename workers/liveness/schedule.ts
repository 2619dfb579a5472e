/**
 * When the probes of one suspicion follow one another: at a fixed distance, at a growing one (strongSwan: 4 s x 1.8^n), or as a list
 * says (FortiOS: 3, 6, 12, 24, 48 s).
 */

/** All times in ms. A list replaces the other members. */
export type RetrySchedule = {
  /** Wait for an answer before the next probe; with a factor: before the second one. */
  readonly retryIntervalMs: number;
  /** Unanswered probes before a verdict. With a list it says so itself: 0. */
  readonly retries: number;
  /** Each wait in percent of the one before; 0: 100, all are the same. */
  readonly retryFactorPercent?: number;
  /** No wait is longer; 0: as it comes. */
  readonly retryLimitMs?: number;
  /** The wait after each probe; empty: none is listed. */
  readonly retryScheduleMs?: readonly number[];
};

/** The schedule in full. Index n is about the n-th probe, from 1. */
export type Waits = {
  readonly retries: number;
  /** The wait after each probe, ms; index 0 is the first one's, too. */
  readonly waits: Float64Array;
  /** From the first probe until the wait after the n-th is over, ms. */
  readonly ends: Float64Array;
  /** 1 if silence after the n-th counts among the outcomes: after the first, and when what was counted before has faded. */
  readonly news: Uint8Array;
};

/** What was counted of a peer fades after this, ms: a little less than the storm guard's window, if nothing else is set. */
const FADES_MS = 9_500;

/** Calculates every wait of a schedule, rounded to whole ms. */
export function waitsOf(schedule: RetrySchedule): Waits {
  const listed = schedule.retryScheduleMs ?? [];
  const retries = listed.length || schedule.retries;
  const waits = new Float64Array(retries + 1);
  const ends = new Float64Array(retries + 1);
  const news = new Uint8Array(retries + 1);
  let counted = Number.NEGATIVE_INFINITY;
  const factor = (schedule.retryFactorPercent || 100) / 100;
  const limit = schedule.retryLimitMs || Number.POSITIVE_INFINITY;
  for (let n = 1; n <= retries; n++) {
    waits[n] = listed[n - 1] ?? Math.round(Math.min(limit, schedule.retryIntervalMs * factor ** (n - 1)));
    ends[n] = ends[n - 1]! + waits[n]!;
    if (ends[n]! - counted < FADES_MS) continue;
    news[n] = 1;
    counted = ends[n]!;
  }
  waits[0] = waits[Math.min(1, retries)]!;
  return { retries, waits, ends, news };
}

/** From the last evidence to the earliest verdict, ms: interval and all waits. */
export function detectionMs(policy: RetrySchedule & { readonly intervalMs: number }): number {
  const { retries, ends } = waitsOf(policy);
  return policy.intervalMs + ends[retries]!;
}
