/**
 * The agent's file of peers: policies in layers, and the ways to each peer that charon has connections for. The layers are cluster, headend,
 * label and peer; the nearest that gives a member wins.
 */

import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { Action, type Policy } from '../../../proto/gen/dpd/v1/types_pb.js';
import { SettingsError } from '../../../workers/base/errors.ts';
import { type Layer, readMembers, resolvePolicy } from '../../api/policy/layers.ts';
import { LIMITS } from '../../api/validation.ts';
import { members, named, shown } from '../../base/json-places.ts';
import { isText, type Members } from '../../base/shape.ts';

/** One way to a peer: its address, and the swanctl connection and child that bring it up. */
export type PeerEndpoint = { readonly address: string; readonly connection: string; readonly child: string };

export type PeerEntry = {
  readonly policy: Policy;
  readonly endpoints: readonly PeerEndpoint[];
  /** What the peer has in common with others, e.g. an access line; undefined: the hub's address that it connects to. */
  readonly site?: string | undefined;
  /** No verdict before this moment, Unix ms. */
  readonly muteUntilUnixMs?: number | undefined;
  /** Index of the endpoint to bring up whichever dies. */
  readonly pinned?: number | undefined;
};

/** Largest file, bytes: a hundred thousand peers need a tenth of it. */
const MOST_BYTES = 256 * 1024 * 1024;
/** Longest name of a label, and the largest number of them. */
const LABELS = { bytes: 64, count: 1_000 };

export class PeersFile {
  #peers: ReadonlyMap<string, PeerEntry>;
  #fallback: PeerEntry;

  private constructor(peers: ReadonlyMap<string, PeerEntry>, fallback: PeerEntry) {
    this.#peers = peers;
    this.#fallback = fallback;
  }

  /** Reads a file, or the defaults alone without one. Throws SettingsError naming the entry that is wrong. */
  static read(path: string | undefined, cluster?: Members): PeersFile {
    if (path === undefined) return PeersFile.parse({}, 'defaults', cluster);
    try {
      if (statSync(path).size > MOST_BYTES) throw new Error(`larger than ${MOST_BYTES} bytes`);
      return PeersFile.parse(JSON.parse(readFileSync(path, 'utf8')), path, cluster);
    } catch (error) {
      if (error instanceof SettingsError) throw error;
      throw new SettingsError(`peers ${path}: ${(error as Error).message}`);
    }
  }

  /** Takes over what a file says in JSON. Throws SettingsError. @param cluster the members that the cluster gives to all headends */
  static parse(raw: unknown, source: string, cluster: Members = {}): PeersFile {
    const at = `peers ${source}`;
    const {
      policy,
      labels = {},
      peers = {},
      observe = false,
    } = members(raw, at, ['policy', 'labels', 'peers', 'observe']);
    if (typeof observe !== 'boolean')
      throw new SettingsError(`${at}: observe=${shown(observe)}: must be true or false`);
    const headend: Layer = { name: 'headend', members: readMembers(policy, `${at}: policy`) };
    const common = [{ name: 'cluster', members: cluster }, headend];
    const layers = readLabels(labels, common, at);
    const fallback = resolvePolicy(common, Action.CLEAR, `${at}: policy`, observe);
    const entries = Object.entries(members(peers, `${at}: peers`)).map(
      ([id, entry]) => [id, readEntry(entry, { common, labels: layers, observe }, peerPlace(at, id))] as const,
    );
    return new PeersFile(new Map(entries), { policy: fallback, endpoints: [] });
  }

  /** The settings of a peer by its IKE identity. */
  get(peerId: string): PeerEntry {
    return this.#peers.get(peerId) ?? this.#fallback;
  }

  /** What another file says counts from now on. Returns whether a peer's settings are others than before. */
  replace(by: PeersFile): (peerId: string) => boolean {
    const former = new PeersFile(this.#peers, this.#fallback);
    this.#peers = by.#peers;
    this.#fallback = by.#fallback;
    return (peerId) => {
      const [was, is] = [former.get(peerId), this.get(peerId)];
      return was !== is && JSON.stringify(was) !== JSON.stringify(is);
    };
  }
}

/** The place of a peer. Names that only look like one peer are refused. */
function peerPlace(at: string, id: string): string {
  const where = `${at}: ${id.slice(0, LIMITS.peerIdBytes)}`;
  if (!isShort(id, LIMITS.peerIdBytes) || id === '')
    throw new SettingsError(`${where}: a peer's identity has 1 to ${LIMITS.peerIdBytes} bytes`);
  if (id.includes('*') || id.startsWith('%'))
    throw new SettingsError(`${where}: wildcards are not supported: name each peer, or write "policy" for all others`);
  return where;
}

function readLabels(raw: unknown, common: readonly Layer[], at: string): Readonly<Record<string, Layer>> {
  const entries = Object.entries(members(raw, `${at}: labels`));
  if (entries.length > LABELS.count)
    throw new SettingsError(`${at}: labels: ${entries.length} of them, at most ${LABELS.count}`);
  const layers = entries.map(([label, policy]) => {
    const where = `${at}: labels.${label.slice(0, LABELS.bytes)}`;
    if (label === '' || !isShort(label, LABELS.bytes))
      throw new SettingsError(`${where}: a label has 1 to ${LABELS.bytes} bytes`);
    const layer = { name: `label ${label}`, members: readMembers(policy, where) };
    // A label that no peer has yet must not be wrong either.
    resolvePolicy([...common, layer], Action.CLEAR, where);
    return [label, layer] as const;
  });
  return Object.fromEntries(layers);
}

/** What a file says about all of its peers. */
type Common = {
  readonly common: readonly Layer[];
  readonly labels: Readonly<Record<string, Layer>>;
  readonly observe: boolean;
};

function readEntry(raw: unknown, { common, labels, observe }: Common, where: string): PeerEntry {
  const known = ['policy', 'label', 'endpoints', 'site', 'muteUntil', 'pin'];
  const { policy, label, endpoints: list = [], site, muteUntil, pin } = members(raw, where, known);
  if (!Array.isArray(list) || list.length > LIMITS.endpoints)
    throw new SettingsError(`${where}.endpoints: must be a list of at most ${LIMITS.endpoints}`);
  const endpoints = list.map((endpoint, n) => readEndpoint(endpoint, `${where}.endpoints[${n}]`));
  if (site !== undefined && !isShort(site, LIMITS.siteBytes))
    throw new SettingsError(`${where}.site: must be a text of at most ${LIMITS.siteBytes} bytes`);
  const labelled = named(labels, label);
  if (label !== undefined && !labelled)
    throw new SettingsError(`${where}.label=${shown(label)}: must be one of this file's labels`);
  const own: Layer = { name: 'peer', members: readMembers(policy, `${where}.policy`) };
  const action = endpoints.length > 1 ? Action.FAILOVER : Action.CLEAR;
  const layers = labelled ? [...common, labelled, own] : [...common, own];
  const pinned = pin === undefined ? undefined : endpoints.findIndex(({ connection }) => connection === pin);
  if (pinned === -1)
    throw new SettingsError(`${where}.pin=${shown(pin)}: must be the connection of one of its endpoints`);
  return {
    policy: resolvePolicy(layers, action, `${where}.policy`, observe),
    endpoints,
    site,
    muteUntilUnixMs: muteUntil === undefined ? undefined : readMoment(muteUntil, `${where}.muteUntil`),
    pinned,
  };
}

/** A moment as RFC 3339 writes it, with its zone. Unix ms. */
function readMoment(value: unknown, where: string): number {
  const at = typeof value === 'string' && MOMENT.test(value) ? Date.parse(value) : Number.NaN;
  if (at >= 0 && at <= LIMITS.unixMs) return at;
  throw new SettingsError(`${where}=${shown(value)}: must be a moment like 2026-12-31T18:00:00Z`);
}
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/;

function readEndpoint(raw: unknown, where: string): PeerEndpoint {
  const { address, connection, child } = members(raw, where, ['address', 'connection', 'child']);
  if (!isText(address, 64) || isIP(address) === 0 || !connection || !child)
    throw new SettingsError(`${where}: needs an address, a connection and a child`);
  const most = LIMITS.connectionBytes;
  if (!isShort(connection, most) || !isShort(child, most))
    throw new SettingsError(`${where}: connection and child must be texts of at most ${most} bytes`);
  return { address, connection, child };
}

function isShort(value: unknown, mostBytes: number): value is string {
  return isText(value, mostBytes) && Buffer.byteLength(value) <= mostBytes;
}
