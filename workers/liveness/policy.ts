/** Liveness policies: what the field calls DPD settings. Times in ms. */

import { type RetrySchedule, type Waits, waitsOf } from './schedule.ts';

export const Mode = { PERIODIC: 1, ON_IDLE: 2, ON_DEMAND: 3, DISABLED: 4 } as const;
export type Mode = (typeof Mode)[keyof typeof Mode];

/** One peer is dead at: last evidence + interval + all waits of the retry schedule, never before. */
export type Policy = RetrySchedule & {
  readonly mode: Mode;
  /** Quiet time before the first probe, ms. */
  readonly intervalMs: number;
  /** How much of the interval the first probe may come early, percent. */
  readonly jitterPercent: number;
  /** After so long without a sign of life a peer that has never answered is judged nevertheless, ms; 0: never. */
  readonly unprovenMs: number;
  /** However busy the tunnel is, a round trip at least so often, ms; 0: never. */
  readonly proveEveryMs?: number;
  /** A dead peer that is asked on is back after so many answers in a row; 0: 1. */
  readonly upCount?: number;
  /** A dead peer's SA stays: it is asked on, to see whether it comes back. */
  readonly asksDead?: boolean;
};

/** Shortest time between two exchanges with a peer that answers, ms. A dead one is asked as fast as its answers are counted. */
export function leastSpacingMs({ intervalMs, jitterPercent, asksDead, upCount, waits }: Plan): number {
  const spacingMs = intervalMs * (1 - jitterPercent / 100);
  return asksDead && upCount > 1 ? Math.min(spacingMs, waits[0]!) : spacingMs;
}

/** The policy of a peer that is not watched. */
export const UNWATCHED: Policy = {
  mode: Mode.DISABLED,
  intervalMs: 3_600_000,
  retryIntervalMs: 60_000,
  retries: 20,
  jitterPercent: 0,
  unprovenMs: 0,
};

/** A policy as the machine works with it: the waits are calculated once. */
export type Plan = Policy & Waits & Required<Pick<Policy, 'proveEveryMs' | 'upCount' | 'asksDead'>>;

/** How a policy is carried out. */
export function planOf(policy: Policy): Plan {
  const { mode, intervalMs, retryIntervalMs, jitterPercent, unprovenMs } = policy;
  const { proveEveryMs = 0, upCount = 0, asksDead = false } = policy;
  const plain = { mode, intervalMs, retryIntervalMs, jitterPercent, unprovenMs };
  return { ...plain, proveEveryMs, upCount, asksDead, ...waitsOf(policy) };
}
