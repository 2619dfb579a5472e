/** Decides the next step of one failover: a pure function of its inputs. */

import { Outcome } from '../../proto/gen/dpd/v1/types_pb.js';
import { always } from '../../workers/base/always.ts';
import { isObject, isWhole } from '../base/shape.ts';

/** The progress of one failover. Stored between steps. */
export type FailoverProgress = {
  /** Present attempt; 0 is the verdict's own. */
  readonly attempt: number;
  /** When the failover began, and when the present attempt did, Unix ms. */
  readonly beganUnix: number;
  readonly attemptUnix: number;
  /** Endpoints tried in the present round. */
  readonly tried: readonly number[];
  /** Rounds through the whole list without success. */
  readonly rounds: number;
};

/** What is known of the present attempt. */
export type Situation = {
  readonly endpoints: number;
  readonly deadEndpoint: number;
  readonly nextEndpoint: number;
  /** No other endpoint than the next one may be tried. */
  readonly same: boolean;
  /** Why its endpoint did not come up, as it was acknowledged; undefined before that. */
  readonly failed: string | undefined;
  /** Whether the cluster takes an endpoint for dead, by index. */
  readonly knownDead: (endpoint: number) => boolean;
};

export type Step =
  /** Nothing to do before `dueUnix`, unless the attempt is acknowledged. */
  | { readonly kind: 'wait'; readonly dueUnix: number }
  /** Try another endpoint; its time is over at `dueUnix`. */
  | {
      readonly kind: 'advance';
      readonly endpoint: number;
      readonly progress: FailoverProgress;
      readonly dueUnix: number;
    }
  /** Out of time: for an operator. */
  | { readonly kind: 'giveUp'; readonly reason: string };

export type FailoverLimits = {
  /** A failover that has not succeeded after this is given up, ms. */
  readonly deadlineMs: number;
};

/** Wait after a round through all endpoints: doubles each round, ms. */
const ROUND_MS = { first: 1_000, longest: 60_000 };
always(ROUND_MS.first < ROUND_MS.longest, 'a round waits longer than the one before');

/**
 * Whether this outcome completes a verdict. FAILED_OVER is a proof of life: the endpoint has just answered the agent, in an
 * authenticated exchange. A peer that falls silent after that gets a new verdict.
 */
export function seenThrough(outcome: Outcome): boolean {
  return outcome !== Outcome.FAILOVER_FAILED && outcome !== Outcome.UNSPECIFIED;
}

/** A failover that begins now. */
export function begin(nowUnix: number, nextEndpoint: number): FailoverProgress {
  return { attempt: 0, beganUnix: nowUnix, attemptUnix: nowUnix, tried: [nextEndpoint], rounds: 0 };
}

/** The progress of a failover, from its JSON. Throws RangeError or SyntaxError if it is invalid. */
export function readProgress(text: string): FailoverProgress {
  const value: unknown = JSON.parse(text);
  const { attempt, beganUnix, attemptUnix, tried, rounds } = isObject(value) ? value : {};
  const counts = [attempt, rounds].every((count) => isWhole(count, 0, MOST_ATTEMPTS));
  const times = [beganUnix, attemptUnix].every((time) => typeof time === 'number');
  if (!counts || !times || !Array.isArray(tried) || !tried.every((endpoint) => isWhole(endpoint, 0, MOST_ATTEMPTS)))
    throw new RangeError('no progress of a failover');
  return { attempt, beganUnix, attemptUnix, tried, rounds } as FailoverProgress;
}
const MOST_ATTEMPTS = 2 ** 32 - 1;

/** The next step of a failover that is not complete. */
export function plan(progress: FailoverProgress, now: Situation, limits: FailoverLimits, nowUnix: number): Step {
  const { failed } = now;
  const endUnix = progress.beganUnix + limits.deadlineMs;
  if (nowUnix > endUnix) {
    const reason = `no endpoint came up in ${progress.attempt + 1} attempts; the last: ${failed}`;
    return { kind: 'giveUp', reason: failed === undefined ? 'not acknowledged' : reason };
  }
  // An acknowledgement makes it due at once; until then the shard's owner delivers the verdict.
  if (failed === undefined) return { kind: 'wait', dueUnix: endUnix + 1 };
  return advance(progress, now, endUnix + 1, nowUnix);
}

/**
 * The endpoint to try: the next in the list that was not tried in this round and is not known to be dead; those known to be
 * dead only after all others; the one found dead last of all.
 */
export function nextEndpoint(
  endpoints: number,
  deadEndpoint: number,
  from: number,
  tried: readonly number[],
  knownDead: (endpoint: number) => boolean,
): number | undefined {
  const order = Array.from({ length: endpoints }, (_, n) => (from + 1 + n) % endpoints).filter(
    (endpoint) => !tried.includes(endpoint),
  );
  const others = order.filter((endpoint) => endpoint !== deadEndpoint);
  return others.find((endpoint) => !knownDead(endpoint)) ?? others[0] ?? order[0];
}

function advance(progress: FailoverProgress, now: Situation, dueUnix: number, nowUnix: number): Step {
  const { endpoints, deadEndpoint, knownDead, same } = now;
  const attempt = progress.attempt + 1;
  const next = same ? undefined : nextEndpoint(endpoints, deadEndpoint, now.nextEndpoint, progress.tried, knownDead);
  if (next !== undefined)
    return {
      kind: 'advance',
      endpoint: next,
      dueUnix,
      progress: { ...progress, attempt, attemptUnix: nowUnix, tried: [...progress.tried, next] },
    };
  // The list begins again, as a crypto map does, but slower each time.
  const waitMs = Math.min(ROUND_MS.first * 2 ** progress.rounds, ROUND_MS.longest);
  if (nowUnix - progress.attemptUnix < waitMs) return { kind: 'wait', dueUnix: progress.attemptUnix + waitMs };
  const first = same ? now.nextEndpoint : nextEndpoint(endpoints, deadEndpoint, deadEndpoint, [], knownDead)!;
  return {
    kind: 'advance',
    endpoint: first,
    dueUnix,
    progress: { ...progress, attempt, attemptUnix: nowUnix, tried: [first], rounds: progress.rounds + 1 },
  };
}
