/** What to do next about one failover: pure, told everything. */

/** Where one failover stands. Stored between steps. */
export type Pursuit = {
  /** Present attempt; 0 is the verdict's own. */
  readonly attempt: number;
  /** When the failover began, and when the present attempt did, Unix ms. */
  readonly beganUnix: number;
  readonly attemptUnix: number;
  /** Endpoints tried in the present round. */
  readonly tried: readonly number[];
  /** Rounds through the whole list that brought nothing. */
  readonly rounds: number;
};

/** What is known of the present attempt. */
export type Situation = {
  readonly endpoints: number;
  readonly deadEndpoint: number;
  readonly nextEndpoint: number;
  /** How long a new SA may take to show life: its whole detection time, ms. */
  readonly detectionMs: number;
  readonly acknowledged: { readonly outcome: string; readonly successor: string } | undefined;
  /** What the successor's shard says of it. */
  readonly successor: SuccessorState;
  /** Whether the cluster holds an endpoint for dead, by index. */
  readonly knownDead: (endpoint: number) => boolean;
};

/** UNKNOWN: not registered. HELD: registered, has shown no life yet. ALIVE: has. DEAD: has a verdict of its own. */
export type SuccessorState = 'UNKNOWN' | 'HELD' | 'ALIVE' | 'DEAD';

export type Step =
  /** Nothing to do before `dueUnix`; `deliver`: the verdict should be sent once more. */
  | { readonly kind: 'wait'; readonly dueUnix: number; readonly deliver: boolean }
  /** Seen through. */
  | { readonly kind: 'done'; readonly how: string }
  /** Ask for another endpoint. */
  | { readonly kind: 'advance'; readonly endpoint: number; readonly pursuit: Pursuit }
  /** Out of time: for an operator. */
  | { readonly kind: 'giveUp'; readonly reason: string };

export type FailoverLimits = {
  /** A failover that has not succeeded after this is given up, ms. */
  readonly deadlineMs: number;
};

/** How often something that is awaited is looked at, ms. */
export const LOOK_MS = 1_000;
/** A verdict not acknowledged is delivered again after this, ms. */
const DELIVER_AGAIN_MS = 10_000;
/** A data-plane node registers the new SA within this, ms. */
const REGISTER_MS = 10_000;
/** Wait after a round through all endpoints: doubles each round, ms. */
const ROUND_MS = { first: 1_000, longest: 60_000 };

/** A failover that begins now. */
export function begin(nowUnix: number, nextEndpoint: number): Pursuit {
  return { attempt: 0, beganUnix: nowUnix, attemptUnix: nowUnix, tried: [nextEndpoint], rounds: 0 };
}

/** The next step. */
export function plan(pursuit: Pursuit, now: Situation, limits: FailoverLimits, nowUnix: number): Step {
  const { acknowledged } = now;
  const late = nowUnix - pursuit.beganUnix > limits.deadlineMs;
  const attemptMs = nowUnix - pursuit.attemptUnix;
  if (!acknowledged) {
    if (late) return { kind: 'giveUp', reason: 'not acknowledged' };
    // An acknowledgement makes it due at once: until the next delivery there is nothing to see.
    const nextUnix = Math.min(pursuit.attemptUnix + DELIVER_AGAIN_MS, pursuit.beganUnix + limits.deadlineMs + 1);
    return {
      kind: 'wait',
      dueUnix: Math.max(nowUnix + LOOK_MS, nextUnix),
      deliver: attemptMs >= DELIVER_AGAIN_MS,
    };
  }
  switch (acknowledged.outcome) {
    case 'CLEARED':
    case 'SA_GONE':
      return { kind: 'done', how: acknowledged.outcome };
    case 'FAILED_OVER': {
      if (acknowledged.successor === '') return { kind: 'done', how: 'FAILED_OVER' };
      // A successor that dies has a verdict, and a failover, of its own.
      if (now.successor === 'ALIVE' || now.successor === 'DEAD') return { kind: 'done', how: now.successor };
      const patienceMs = REGISTER_MS + (now.successor === 'HELD' ? 2 * now.detectionMs : 0);
      if (attemptMs < patienceMs) return { kind: 'wait', dueUnix: nowUnix + LOOK_MS, deliver: false };
      // It was there and is no more: replaced by rekeying, say. Another endpoint would hurt a tunnel that works.
      if (now.successor === 'HELD') return { kind: 'done', how: 'REPLACED' };
      break;
    }
    default:
      break;
  }
  if (late) return { kind: 'giveUp', reason: `no endpoint came up in ${pursuit.attempt + 1} attempts` };
  return advance(pursuit, now, nowUnix);
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

function advance(pursuit: Pursuit, now: Situation, nowUnix: number): Step {
  const { endpoints, deadEndpoint, knownDead } = now;
  const attempt = pursuit.attempt + 1;
  const next = nextEndpoint(endpoints, deadEndpoint, now.nextEndpoint, pursuit.tried, knownDead);
  if (next !== undefined)
    return {
      kind: 'advance',
      endpoint: next,
      pursuit: { ...pursuit, attempt, attemptUnix: nowUnix, tried: [...pursuit.tried, next] },
    };
  // The list begins again, as a crypto map does, but slower each time.
  const waitMs = Math.min(ROUND_MS.first * 2 ** pursuit.rounds, ROUND_MS.longest);
  if (nowUnix - pursuit.attemptUnix < waitMs)
    return { kind: 'wait', dueUnix: pursuit.attemptUnix + waitMs, deliver: false };
  const first = nextEndpoint(endpoints, deadEndpoint, deadEndpoint, [], knownDead)!;
  return {
    kind: 'advance',
    endpoint: first,
    pursuit: { ...pursuit, attempt, attemptUnix: nowUnix, tried: [first], rounds: pursuit.rounds + 1 },
  };
}
