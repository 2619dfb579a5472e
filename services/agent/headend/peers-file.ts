/** The agent's file of peers: policies, and the ways to each peer that charon has connections for. */

import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { Action, Mode, type Policy, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { SettingsError } from '../../../workers/base/errors.ts';
import type { Policy as WatchedPolicy } from '../../../workers/liveness/policy.ts';
import { POLICY_LIMITS, policyFaults } from '../../../workers/liveness/policy-limits.ts';
import { LIMITS } from '../../api/validation.ts';
import { isObject, isText, isWhole, type Members } from '../../base/shape.ts';

/** One way to a peer: its address, and the swanctl connection and child that bring it up. */
export type PeerEndpoint = { readonly address: string; readonly connection: string; readonly child: string };

export type PeerEntry = {
  readonly policy: Policy;
  readonly endpoints: readonly PeerEndpoint[];
  /** What the peer has in common with others, e.g. an access line; undefined: the hub's address that it connects to. */
  readonly site?: string | undefined;
};

const DEFAULTS = {
  mode: 'ON_IDLE',
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
const ACTIONS: Readonly<Record<string, Action>> = { CLEAR: Action.CLEAR, FAILOVER: Action.FAILOVER };
const NUMBERS = ['intervalMs', 'retryIntervalMs', 'retries', 'jitterPercent', 'unprovenMs'] as const;
/** Members that say when the probes of one suspicion follow one another. A list replaces the others, and the others a list. */
const WAITS = ['retryIntervalMs', 'retries', 'retryFactorPercent', 'retryLimitMs'] as const;
const LIST = 'retryScheduleMs';
/** May also be 0: not given. */
const OR_ZERO: readonly string[] = ['retryFactorPercent', 'retryLimitMs'];
/** Largest file, bytes: a hundred thousand peers need a tenth of it. */
const MOST_BYTES = 256 * 1024 * 1024;

export class PeersFile {
  readonly #peers: ReadonlyMap<string, PeerEntry>;
  readonly #fallback: PeerEntry;

  private constructor(peers: ReadonlyMap<string, PeerEntry>, fallback: PeerEntry) {
    this.#peers = peers;
    this.#fallback = fallback;
  }

  /** Reads a file, or the defaults alone without one. Throws SettingsError naming the entry that is wrong. */
  static read(path: string | undefined): PeersFile {
    if (path === undefined) return PeersFile.parse({}, 'defaults');
    try {
      if (statSync(path).size > MOST_BYTES) throw new Error(`larger than ${MOST_BYTES} bytes`);
      return PeersFile.parse(JSON.parse(readFileSync(path, 'utf8')), path);
    } catch (error) {
      if (error instanceof SettingsError) throw error;
      throw new SettingsError(`peers ${path}: ${(error as Error).message}`);
    }
  }

  /** Takes over what a file says in JSON. Throws SettingsError. */
  static parse(raw: unknown, source: string): PeersFile {
    const { policy, peers = {} } = members(raw, `peers ${source}`, ['policy', 'peers']);
    const fallback = readPolicy({ ...DEFAULTS, action: 'CLEAR' }, policy, `peers ${source}: policy`);
    const entries = Object.entries(members(peers, `peers ${source}: peers`)).map(
      ([id, entry]) => [id, readEntry(entry, policy, `peers ${source}: ${id.slice(0, LIMITS.peerIdBytes)}`)] as const,
    );
    return new PeersFile(new Map(entries), { policy: fallback, endpoints: [] });
  }

  /** The settings of a peer by its IKE identity. */
  get(peerId: string): PeerEntry {
    return this.#peers.get(peerId) ?? this.#fallback;
  }
}

/** @param common the policy of all peers, as the file has it */
function readEntry(raw: unknown, common: unknown, where: string): PeerEntry {
  const { policy, endpoints: list = [], site } = members(raw, where, ['policy', 'endpoints', 'site']);
  if (!Array.isArray(list) || list.length > LIMITS.endpoints)
    throw new SettingsError(`${where}.endpoints: must be a list of at most ${LIMITS.endpoints}`);
  const endpoints = list.map((endpoint, n) => readEndpoint(endpoint, `${where}.endpoints[${n}]`));
  if (site !== undefined && !isShort(site, LIMITS.siteBytes))
    throw new SettingsError(`${where}.site: must be a text of at most ${LIMITS.siteBytes} bytes`);
  const action = endpoints.length > 1 ? 'FAILOVER' : 'CLEAR';
  const base = over({ ...DEFAULTS, action }, members(common ?? {}, `${where}.policy`));
  return { policy: readPolicy(base, policy, `${where}.policy`), endpoints, site };
}

function readEndpoint(raw: unknown, where: string): PeerEndpoint {
  const { address, connection, child } = members(raw, where, ['address', 'connection', 'child']);
  if (!isText(address, 64) || isIP(address) === 0 || !connection || !child)
    throw new SettingsError(`${where}: needs an address, a connection and a child`);
  const most = LIMITS.connectionBytes;
  if (!isShort(connection, most) || !isShort(child, most))
    throw new SettingsError(`${where}: connection and child must be texts of at most ${most} bytes`);
  return { address, connection, child };
}

/** @param base values for members that the policy omits */
function readPolicy(base: Members, raw: unknown, where: string): Policy {
  const own = members(raw ?? {}, where, ['mode', 'action', ...NUMBERS, ...OR_ZERO, LIST]);
  const policy = over(base, own);
  const [mode, action] = [named(MODES, policy['mode']), named(ACTIONS, policy['action'])];
  if (!mode)
    throw new SettingsError(`${where}.mode=${shown(policy['mode'])}: must be PERIODIC, ON_IDLE, ON_DEMAND or DISABLED`);
  if (!action) throw new SettingsError(`${where}.action=${shown(policy['action'])}: must be CLEAR or FAILOVER`);
  const listed = policy[LIST] !== undefined;
  const numbers = [...NUMBERS, ...OR_ZERO]
    .filter((name) => policy[name] !== undefined || (!listed && isPlain(name)))
    .map((name) => [name, number(policy[name], name as keyof typeof POLICY_LIMITS, `${where}.${name}`)] as const);
  const waits = listed ? readWaits(policy[LIST], `${where}.${LIST}`) : [];
  const read = create(PolicySchema, { mode, action, ...Object.fromEntries(numbers), retryScheduleMs: waits });
  const [fault] = policyFaults(read as WatchedPolicy);
  if (fault) throw new SettingsError(`${where}.${fault.member}: ${fault.why}`);
  return read;
}

/** The nearer policy's members over the farther one's. */
function over(base: Members, own: Members): Members {
  const replaced = own[LIST] !== undefined ? WAITS : WAITS.some((name) => own[name] !== undefined) ? [LIST] : [];
  return { ...Object.fromEntries(Object.entries(base).filter(([name]) => !replaced.includes(name as never))), ...own };
}

function isPlain(name: string): boolean {
  return !OR_ZERO.includes(name);
}

function number(value: unknown, name: keyof typeof POLICY_LIMITS, where: string): number {
  const { min, max } = POLICY_LIMITS[name];
  if (isWhole(value, min, max) || (value === 0 && !isPlain(name))) return value;
  throw new SettingsError(`${where}=${shown(value)}: must be a whole number from ${min} to ${max}`);
}

function readWaits(value: unknown, where: string): number[] {
  const { max } = POLICY_LIMITS.retries;
  if (!Array.isArray(value) || value.length < 1 || value.length > max)
    throw new SettingsError(`${where}=${shown(value)}: must be a list of 1 to ${max}`);
  return value.map((ms, n) => number(ms, 'retryLimitMs', `${where}[${n}]`));
}

/** The members of an object, which must be among those known. Throws SettingsError. @param known any, if undefined */
function members(value: unknown, where: string, known?: readonly string[]): Members {
  if (!isObject(value)) throw new SettingsError(`${where}: ${shown(value)} is not an object`);
  const unknown = known && Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new SettingsError(`${where}.${unknown.slice(0, 80)}: is not known, only ${known!.join(', ')}`);
  return value;
}

function named<T>(table: Readonly<Record<string, T>>, name: unknown): T | undefined {
  return typeof name === 'string' && Object.hasOwn(table, name) ? table[name] : undefined;
}

function isShort(value: unknown, mostBytes: number): value is string {
  return isText(value, mostBytes) && Buffer.byteLength(value) <= mostBytes;
}

/** A value as an error shows it. */
function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing');
  return text.slice(0, 80);
}
