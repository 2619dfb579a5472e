/** The agent's file of peers: policies, and the ways to each peer that charon has connections for. */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { Action, Mode, type Policy, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { SettingsError } from '../../../workers/base/errors.ts';
import { POLICY_LIMITS } from '../../../workers/liveness/policy.ts';
import { LIMITS } from '../../api/validation.ts';

/** One way to a peer: its address, and the swanctl connection and child that bring it up. */
export type PeerEndpoint = { readonly address: string; readonly connection: string; readonly child: string };

export type PeerEntry = {
  readonly policy: Policy;
  readonly endpoints: readonly PeerEndpoint[];
  /** What the peer shares its fate with, as an access line; undefined: the hub's address that it comes to. */
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

type RawPolicy = Partial<typeof DEFAULTS> & { action?: string };
type Raw = {
  policy?: RawPolicy;
  peers?: Record<string, { policy?: RawPolicy; endpoints?: Partial<PeerEndpoint>[]; site?: unknown }>;
};

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
      return PeersFile.parse(JSON.parse(readFileSync(path, 'utf8')) as Raw, path);
    } catch (error) {
      if (error instanceof SettingsError) throw error;
      throw new SettingsError(`peers ${path}: ${(error as Error).message}`);
    }
  }

  static parse(raw: Raw, source: string): PeersFile {
    const peers = new Map<string, PeerEntry>();
    for (const [id, { policy, endpoints = [], site }] of Object.entries(raw.peers ?? {})) {
      const where = `peers ${source}: ${id}`;
      endpoints.forEach((endpoint, n) => {
        if (isIP(endpoint.address ?? '') === 0 || !endpoint.connection || !endpoint.child)
          throw new SettingsError(`${where}.endpoints[${n}]: needs an address, a connection and a child`);
      });
      if (site !== undefined && (typeof site !== 'string' || Buffer.byteLength(site) > LIMITS.siteBytes))
        throw new SettingsError(`${where}.site: must be a text of at most ${LIMITS.siteBytes} bytes`);
      const action = endpoints.length > 1 ? 'FAILOVER' : 'CLEAR';
      peers.set(id, {
        policy: toPolicy({ ...DEFAULTS, action, ...raw.policy, ...policy }, `${where}.policy`),
        endpoints: endpoints as PeerEndpoint[],
        site,
      });
    }
    const fallback = toPolicy({ ...DEFAULTS, action: 'CLEAR', ...raw.policy }, `peers ${source}: policy`);
    return new PeersFile(peers, { policy: fallback, endpoints: [] });
  }

  /** What holds for a peer by its IKE identity. */
  get(peerId: string): PeerEntry {
    return this.#peers.get(peerId) ?? this.#fallback;
  }
}

function toPolicy(raw: typeof DEFAULTS & { action?: string }, where: string): Policy {
  const mode = Mode[raw.mode as keyof typeof Mode];
  const action = Action[raw.action as keyof typeof Action];
  if (!mode) throw new SettingsError(`${where}.mode=${raw.mode}: must be PERIODIC, ON_IDLE, ON_DEMAND or DISABLED`);
  if (!action) throw new SettingsError(`${where}.action=${raw.action}: must be CLEAR or FAILOVER`);
  for (const name of ['intervalMs', 'retryIntervalMs', 'retries', 'jitterPercent', 'unprovenMs'] as const) {
    const { min, max } = POLICY_LIMITS[name];
    if (!Number.isInteger(raw[name]) || raw[name] < min || raw[name] > max)
      throw new SettingsError(`${where}.${name}=${raw[name]}: must be a whole number from ${min} to ${max}`);
  }
  const { intervalMs, retryIntervalMs, retries, jitterPercent, unprovenMs } = raw;
  return create(PolicySchema, { mode, action, intervalMs, retryIntervalMs, retries, jitterPercent, unprovenMs });
}
