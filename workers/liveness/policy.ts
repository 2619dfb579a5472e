/** Liveness policies: what the field calls DPD settings. Times in ms. */

export const Mode = { PERIODIC: 1, ON_IDLE: 2, ON_DEMAND: 3, DISABLED: 4 } as const;
export type Mode = (typeof Mode)[keyof typeof Mode];

/** One peer is dead at: last evidence + interval + retries x retry interval, never before. */
export type Policy = {
  readonly mode: Mode;
  /** Quiet time before the first probe, ms. */
  readonly intervalMs: number;
  /** Wait for an answer before the next probe, ms. */
  readonly retryIntervalMs: number;
  /** Unanswered probes before a verdict. */
  readonly retries: number;
  /** How much of the interval the first probe may come early, percent. */
  readonly jitterPercent: number;
  /** After so long without a sign of life a peer that has never answered is judged nevertheless, ms; 0: never. */
  readonly unprovenMs: number;
};

/** Shortest time between two exchanges with a peer that answers, ms. */
export function leastSpacingMs({ intervalMs, jitterPercent }: Policy): number {
  return intervalMs * (1 - jitterPercent / 100);
}

/** Limits that the API enforces and the machine relies on. */
export const POLICY_LIMITS = {
  intervalMs: { min: 1_000, max: 3_600_000 },
  retryIntervalMs: { min: 200, max: 60_000 },
  retries: { min: 1, max: 20 },
  jitterPercent: { min: 0, max: 50 },
  unprovenMs: { min: 0, max: 2_592_000_000 },
} as const;

/** The policy of a peer that is not watched. */
export const UNWATCHED: Policy = {
  mode: Mode.DISABLED,
  intervalMs: POLICY_LIMITS.intervalMs.max,
  retryIntervalMs: POLICY_LIMITS.retryIntervalMs.max,
  retries: POLICY_LIMITS.retries.max,
  jitterPercent: 0,
  unprovenMs: 0,
};

/** Distinct policies of one shard at most; a peer holds a 16-bit index. */
const MAX_POLICIES = 65_535;

/** Policies by small index, so that a peer costs two bytes and equal policies are one. */
export class PolicyTable {
  readonly #policies: Policy[] = [];
  readonly #index = new Map<string, number>();

  /** Whether there is a place for this policy; the last one is for {@link UNWATCHED}. */
  takes(policy: Policy): boolean {
    return this.#policies.length < MAX_POLICIES - 1 || this.#index.has(keyOf(policy));
  }

  /** Index of the policy, added if new. Throws RangeError past {@link MAX_POLICIES}. */
  intern(policy: Policy): number {
    const key = keyOf(policy);
    let index = this.#index.get(key);
    if (index === undefined) {
      index = this.#policies.length;
      if (index >= MAX_POLICIES) throw new RangeError(`more than ${MAX_POLICIES} distinct policies in one shard`);
      this.#policies.push({ ...policy });
      this.#index.set(key, index);
    }
    return index;
  }

  /** The policy at an index that {@link intern} returned. */
  at(index: number): Policy {
    return this.#policies[index]!;
  }
}

function keyOf({ mode, intervalMs, retryIntervalMs, retries, jitterPercent, unprovenMs }: Policy): string {
  return `${mode}/${intervalMs}/${retryIntervalMs}/${retries}/${jitterPercent}/${unprovenMs}`;
}
