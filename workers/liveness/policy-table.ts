/** Policies by small index, so that a peer costs two bytes and equal policies are one. */

import { type Plan, type Policy, planOf } from './policy.ts';

/** Distinct policies of one shard at most; a peer holds a 16-bit index. */
const MAX_POLICIES = 65_535;

export class PolicyTable {
  readonly #plans: Plan[] = [];
  readonly #index = new Map<string, number>();

  /** Whether there is a place for this policy; the last one is for that of peers that nobody watches. */
  takes(policy: Policy): boolean {
    return this.#plans.length < MAX_POLICIES - 1 || this.#index.has(keyOf(policy));
  }

  /** Index of the policy, added if new. Throws RangeError past {@link MAX_POLICIES}. */
  intern(policy: Policy): number {
    const key = keyOf(policy);
    let index = this.#index.get(key);
    if (index === undefined) {
      index = this.#plans.length;
      if (index >= MAX_POLICIES) throw new RangeError(`more than ${MAX_POLICIES} distinct policies in one shard`);
      this.#plans.push(planOf(policy));
      this.#index.set(key, index);
    }
    return index;
  }

  /** The policy at an index that {@link intern} returned. */
  at(index: number): Plan {
    return this.#plans[index]!;
  }
}

function keyOf(policy: Policy): string {
  const { mode, intervalMs, retryIntervalMs, retries, jitterPercent, unprovenMs } = policy;
  const plain = `${mode}/${intervalMs}/${retryIntervalMs}/${retries}/${jitterPercent}/${unprovenMs}`;
  const { retryFactorPercent = 0, retryLimitMs = 0, retryScheduleMs, asksDead = false } = policy;
  const { proveEveryMs = 0, upCount = 0 } = policy;
  const listed = retryScheduleMs && retryScheduleMs.length > 0 ? retryScheduleMs.join() : '';
  return retryFactorPercent + retryLimitMs + proveEveryMs + upCount === 0 && listed === '' && !asksDead
    ? plain
    : `${plain}/${retryFactorPercent}/${retryLimitMs}/${listed}/${asksDead}/${proveEveryMs}/${upCount}`;
}
