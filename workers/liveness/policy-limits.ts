/** What a policy may say. API, peers file and shard check by the same table; the machine relies on it. */

import { Mode, type Policy } from './policy.ts';
import { waitsOf } from './schedule.ts';

/** Both ends included. Names in ms are in ms. */
export const POLICY_LIMITS = {
  intervalMs: { min: 200, max: 3_600_000 },
  retryIntervalMs: { min: 200, max: 60_000 },
  retries: { min: 1, max: 20 },
  jitterPercent: { min: 0, max: 50 },
  unprovenMs: { min: 0, max: 2_592_000_000 },
  /** 0 also means 100. */
  retryFactorPercent: { min: 100, max: 1_000 },
  /** 0: none. Also the limit of each wait of a list, and of a growing one. */
  retryLimitMs: { min: 200, max: 300_000 },
  /** 0: never. Not more often than the interval. */
  proveEveryMs: { min: 200, max: 86_400_000 },
  /** 0 also means 1. */
  upCount: { min: 1, max: 20 },
} as const;

/** A member that breaks a limit, as the API's TypeScript names it, and how. */
export type PolicyFault = { readonly member: string; readonly why: string };

/** Members where 0 stands for "not given". */
const OPTIONAL = ['retryFactorPercent', 'retryLimitMs', 'proveEveryMs', 'upCount'] as const;
const PLAIN = ['intervalMs', 'retryIntervalMs', 'retries', 'unprovenMs', 'jitterPercent'] as const;

/** Everything that is wrong with a policy; nothing, if it may be used. */
export function policyFaults(policy: Policy): PolicyFault[] {
  const faults: PolicyFault[] = [];
  const fail = (member: string, why: string) => faults.push({ member, why });
  if (!(policy.mode >= Mode.PERIODIC && policy.mode <= Mode.DISABLED))
    fail('mode', `${policy.mode} is not a known mode`);
  const listed = policy.retryScheduleMs ?? [];
  for (const member of PLAIN) {
    if (listed.length > 0 && (member === 'retryIntervalMs' || member === 'retries')) continue;
    const { min, max } = POLICY_LIMITS[member];
    const value = policy[member];
    // A policy that sends no probes may omit the rest.
    const least = policy.mode === Mode.DISABLED ? 0 : min;
    if (value < least || value > max) fail(member, `${value} is not within ${least} to ${max}${unitOf(member)}`);
  }
  for (const member of OPTIONAL) {
    const { min, max } = POLICY_LIMITS[member];
    const value = policy[member] ?? 0;
    if (value !== 0 && (value < min || value > max))
      fail(member, `${value} is not 0, nor within ${min} to ${max}${unitOf(member)}`);
  }
  const { proveEveryMs = 0, intervalMs } = policy;
  if (proveEveryMs !== 0 && proveEveryMs < intervalMs)
    fail('proveEveryMs', `${proveEveryMs} is less than the interval, ${intervalMs}`);
  if (listed.length > 0) listFaults(policy, listed, fail);
  else if (policy.retryFactorPercent && faults.length === 0) growthFaults(policy, fail);
  return faults;
}

function listFaults(policy: Policy, listed: readonly number[], fail: (member: string, why: string) => void): void {
  const { max: most } = POLICY_LIMITS.retries;
  if (listed.length > most) fail('retryScheduleMs', `${listed.length} items, at most ${most}`);
  const { min, max } = POLICY_LIMITS.retryLimitMs;
  listed.slice(0, most).forEach((ms, n) => {
    if (!(ms >= min && ms <= max)) fail(`retryScheduleMs[${n}]`, `${ms} is not within ${min} to ${max} ms`);
  });
  for (const member of ['retryIntervalMs', 'retries', 'retryFactorPercent', 'retryLimitMs'] as const)
    if ((policy[member] ?? 0) !== 0)
      fail(member, `${policy[member]} beside a list of waits, which replaces it: must be 0`);
}

function growthFaults(policy: Policy, fail: (member: string, why: string) => void): void {
  const { max } = POLICY_LIMITS.retryLimitMs;
  const { waits, retries } = waitsOf(policy);
  if (waits[retries]! > max)
    fail('retryFactorPercent', `${policy.retryFactorPercent} makes the last wait ${waits[retries]} ms, at most ${max}`);
}

function unitOf(member: string): string {
  if (member.endsWith('Ms')) return ' ms';
  return member.endsWith('Percent') ? ' percent' : '';
}
