/** A policy in JSON: what it says, checked member by member, and how layers make the policy of a peer. */

import { create } from '@bufbuild/protobuf';
import { Action, Mode, type Policy, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { SettingsError } from '../../../workers/base/errors.ts';
import type { Policy as WatchedPolicy } from '../../../workers/liveness/policy.ts';
import { POLICY_LIMITS, policyFaults } from '../../../workers/liveness/policy-limits.ts';
import { members, named, shown } from '../../base/json-places.ts';
import { isWhole, type Members } from '../../base/shape.ts';
import { isGiven, LIST, over, WAITS } from './merge.ts';
import { findPreset, PRESET_NAMES } from './presets.ts';

/** The policy of peers that no file says anything about. */
const DEFAULTS = {
  mode: Mode.ON_IDLE,
  intervalMs: 10_000,
  retryIntervalMs: 2_000,
  retries: 5,
  jitterPercent: 10,
  unprovenMs: 0,
};

/** Values that a policy may have, by name. Other values of the API are not allowed in a file. */
const MODES: Readonly<Record<string, Mode>> = {
  PERIODIC: Mode.PERIODIC,
  ON_IDLE: Mode.ON_IDLE,
  ON_DEMAND: Mode.ON_DEMAND,
  DISABLED: Mode.DISABLED,
};
const ACTIONS: Readonly<Record<string, Action>> = {
  CLEAR: Action.CLEAR,
  FAILOVER: Action.FAILOVER,
  TRAP: Action.TRAP,
  RESTART: Action.RESTART,
  NOTIFY: Action.NOTIFY,
};
const NUMBERS = [
  'intervalMs',
  'retryIntervalMs',
  'retries',
  'jitterPercent',
  'unprovenMs',
  'retryFactorPercent',
  'retryLimitMs',
  'proveEveryMs',
  'upCount',
] as const;
/** May also be 0: not given. */
const OR_ZERO: readonly string[] = ['retryFactorPercent', 'retryLimitMs', 'proveEveryMs', 'upCount'];
const KNOWN = ['mode', 'action', ...NUMBERS, LIST, 'preset'];

/** A layer of policies, by the name that people see. */
export type Layer = { readonly name: string; readonly members: Members };

/** The members that a policy of a file gives, as the API has them. Throws SettingsError that names the place. */
export function readMembers(raw: unknown, where: string): Members {
  const given = members(raw ?? {}, where, KNOWN);
  const read: Record<string, unknown> = {};
  const { mode, action, preset } = given;
  if (preset !== undefined) Object.assign(read, presetMembers(preset, `${where}.preset`));
  const own: Record<string, unknown> = {};
  if (mode !== undefined) own['mode'] = oneOf(MODES, mode, `${where}.mode`);
  if (action !== undefined) own['action'] = oneOf(ACTIONS, action, `${where}.action`);
  for (const name of NUMBERS) if (given[name] !== undefined) own[name] = number(given[name], name, `${where}.${name}`);
  if (given[LIST] !== undefined) own[LIST] = readWaits(given[LIST], `${where}.${LIST}`);
  const both = own[LIST] !== undefined && WAITS.find((name) => (own[name] ?? 0) !== 0);
  if (both)
    throw new SettingsError(`${where}.${both}: ${own[both]} beside a list of waits, which replaces it: must be 0`);
  return over(read, own);
}

/**
 * The policy of a peer from its layers, the farthest first; the nearest wins. Throws SettingsError if together they are no policy.
 * @param action if no layer says what to do
 * @param where the place of the nearest layer
 * @param observe nothing is to be applied
 */
export function resolvePolicy(layers: readonly Layer[], action: Action, where: string, observe = false): Policy {
  const merged = layers.reduce((farther, { members }) => over(farther, members), { ...DEFAULTS, action } as Members);
  const telling = layers.filter(({ members }) => Object.keys(members).length > 0).map(({ name }) => name);
  const policy = create(PolicySchema, { ...merged, observe, source: telling.reverse().join(' over ') || 'defaults' });
  const [fault] = policyFaults(policy as WatchedPolicy);
  if (fault) throw new SettingsError(`${where}.${fault.member}: ${fault.why}`);
  return policy;
}

/** The members that a policy of the API gives: those that are not 0, empty or unspecified. */
export function membersOf(policy: Policy): Members {
  const given = Object.entries(policy).filter(([name]) => [...NUMBERS, 'mode', 'action', LIST].includes(name));
  return Object.fromEntries(given.filter(([, value]) => isGiven(value)));
}

/** A policy that gives no more than these members, for the API. */
export function policyOf(members: Members): Policy {
  return create(PolicySchema, members);
}

function presetMembers(name: unknown, where: string): Members {
  const preset = typeof name === 'string' ? findPreset(name) : undefined;
  if (!preset) throw new SettingsError(`${where}=${shown(name)}: must be one of ${PRESET_NAMES.join(', ')}`);
  return preset.policy;
}

function oneOf<T>(table: Readonly<Record<string, T>>, name: unknown, where: string): T {
  const value = named(table, name);
  if (value !== undefined) return value;
  const names = Object.keys(table);
  throw new SettingsError(`${where}=${shown(name)}: must be ${names.slice(0, -1).join(', ')} or ${names.at(-1)}`);
}

function number(value: unknown, name: (typeof NUMBERS)[number], where: string): number {
  const { min, max } = POLICY_LIMITS[name];
  if (isWhole(value, min, max) || (value === 0 && OR_ZERO.includes(name))) return value;
  throw new SettingsError(`${where}=${shown(value)}: must be a whole number from ${min} to ${max}`);
}

function readWaits(value: unknown, where: string): number[] {
  const { max } = POLICY_LIMITS.retries;
  if (!Array.isArray(value) || value.length < 1 || value.length > max)
    throw new SettingsError(`${where}=${shown(value)}: must be a list of 1 to ${max}`);
  return value.map((ms, n) => number(ms, 'retryLimitMs', `${where}[${n}]`));
}
