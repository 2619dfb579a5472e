/** How the members of several policies make one: the nearest that has a member gives it. */

import type { Policy, Sa } from '../../../proto/gen/dpd/v1/types_pb.js';
import { findPreset } from './presets.ts';

/** Members that say when the probes of one suspicion follow one another. */
export const WAITS = ['retryIntervalMs', 'retries', 'retryFactorPercent', 'retryLimitMs'] as const;
/** A list of waits replaces the others, and the others a list. */
export const LIST = 'retryScheduleMs';

type Members = Readonly<Record<string, unknown>>;

/** The nearer policy's members over the farther one's. A member that is undefined is not given. */
export function over(farther: Members, nearer: Members): Members {
  const given = (name: string) => nearer[name] !== undefined;
  const replaced: readonly string[] = given(LIST) ? WAITS : WAITS.some(given) ? [LIST] : [];
  const kept = Object.entries(farther).filter(([name]) => !replaced.includes(name));
  const own = Object.entries(nearer).filter(([name]) => given(name));
  return { ...Object.fromEntries(kept), ...Object.fromEntries(own) };
}

/** Whether a policy of the API gives this member: 0 and an empty list stand for "not given". */
export function isGiven(value: unknown): boolean {
  return value !== 0 && !(Array.isArray(value) && value.length === 0);
}

/** Gives a policy of the API the members of the preset that it names, where its own are 0 or empty. False if there is no such preset. */
function applyPreset(policy: Policy): boolean {
  const preset = findPreset(policy.preset);
  if (!preset) return false;
  const own = Object.entries(policy).filter(([, value]) => isGiven(value));
  Object.assign(
    policy,
    { [LIST]: [] },
    ...WAITS.map((name) => ({ [name]: 0 })),
    over(preset.policy, Object.fromEntries(own)),
  );
  policy.retryScheduleMs = [...policy.retryScheduleMs];
  return true;
}

/** Applies the presets that SAs name. Returns whether any did. */
export function applyPresets(sas: readonly Sa[]): boolean {
  let changed = false;
  for (const { policy } of sas) if (policy && policy.preset !== '') changed = applyPreset(policy) || changed;
  return changed;
}
