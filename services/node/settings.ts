/** A node's settings. docs/settings.md is made from them. */

import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { Action, type Policy } from '../../proto/gen/dpd/v1/types_pb.js';
import { SettingsError } from '../../workers/base/errors.ts';
import { policyOf, readMembers, resolvePolicy } from '../api/policy/layers.ts';
import { DEFAULT_ADDRESS, TLS_SETTINGS } from '../api/transport-settings.ts';
import { CORE_DUMPS } from '../base/process/settings.ts';
import { integer, ipv6, matching, oneOf, optional, readSettings, type SettingsOf, text } from '../base/settings.ts';
import { FAILOVER_SETTINGS } from '../failover/settings.ts';
import { KEY_SETTINGS } from '../store/key-settings.ts';
import { TELEMETRY_SETTINGS } from '../telemetry/settings.ts';

const IPV4 = /^\d{1,3}(\.\d{1,3}){3}$/;

export const NODE_SETTINGS = {
  address: {
    env: 'DPD_ADDRESS',
    help: 'where to serve: host:port or unix:/path',
    ...DEFAULT_ADDRESS,
    parse: text,
  },
  ...TELEMETRY_SETTINGS,
  ...TLS_SETTINGS,
  access: {
    env: 'DPD_ACCESS',
    help: 'what holders of certificates may do, beyond what their SPIFFE IDs say: JSON file',
    fallback: '',
    parse: optional,
  },
  nodeId: {
    env: 'DPD_NODE_ID',
    help: "this node's name, the same after a restart",
    fallback: hostname(),
    varies: 'the host name',
    parse: matching(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 of [A-Za-z0-9._-]'),
  },
  advertise: {
    env: 'DPD_ADVERTISE',
    help: 'where agents and other nodes reach this one, if not at its address',
    fallback: '',
    parse: optional,
  },
  drain: {
    env: 'DPD_DRAIN_MS',
    help: 'longest wait at a stop for headends to take their shards elsewhere, ms',
    fallback: '15000',
    parse: integer(0, 600_000),
  },
  redisUrl: {
    env: 'REDIS_URL',
    help: 'redis://, unix:/path, redis+sentinel:// or redis+cluster://; none: a private redis-server',
    fallback: '',
    parse: optional,
  },
  redisReplicas: {
    env: 'DPD_REDIS_REPLICAS',
    help: 'replicas that must have a verdict before it counts as written',
    fallback: '0',
    parse: integer(0, 16),
  },
  dataDir: {
    env: 'DPD_DATA_DIR',
    help: 'folder of the private redis-server and its key',
    fallback: 'data',
    parse: (value: string) => resolve(value),
  },
  ...KEY_SETTINGS,
  ...CORE_DUMPS,
  threads: { env: 'DPD_THREADS', help: 'worker threads; 0: one per core', fallback: '0', parse: integer(0, 256) },
  maxPeers: {
    env: 'DPD_MAX_PEERS',
    help: 'SAs on this node at most',
    fallback: '2000000',
    parse: integer(1, 10_000_000),
  },
  headendPeers: {
    env: 'DPD_HEADEND_PEERS',
    help: 'SAs of one headend on this node at most; 0: as many as the node takes',
    fallback: '0',
    parse: integer(0, 10_000_000),
  },
  defaultPolicy: {
    env: 'DPD_DEFAULT_POLICY',
    help: 'policy of all headends, as JSON like {"preset": "strongswan"}; their own members stand above it; empty: none',
    fallback: '',
    parse: parseDefaultPolicy,
  },
  probeRate: {
    env: 'DPD_PROBE_RATE',
    help: 'probes a second at most; what is due beyond it waits, and no verdict comes of waiting',
    fallback: '50000',
    parse: integer(1, 10_000_000),
  },
  probeAddress: {
    env: 'DPD_PROBE_ADDRESS',
    help: 'IPv4 address that probes leave from',
    fallback: '0.0.0.0',
    parse: matching(IPV4, 'an IPv4 address'),
  },
  probeAdvertise: {
    env: 'DPD_PROBE_ADVERTISE',
    help: 'IPv4 address that headends steer replies to, if not the one probes leave from',
    fallback: '',
    parse: (value: string) => (value === '' ? undefined : matching(IPV4, 'an IPv4 address')(value)),
  },
  probeAddress6: {
    env: 'DPD_PROBE_ADDRESS6',
    help: 'IPv6 address that probes leave from, told to headends unless it is ::; empty: none by IPv6',
    fallback: '::',
    parse: (value: string) => (value === '' ? undefined : ipv6(value)),
  },
  probePortBase: {
    env: 'DPD_PROBE_PORT_BASE',
    help: 'UDP port of shard 0, the next for shard 1 ...; 0: any',
    fallback: '14500',
    parse: integer(0, 64_000),
  },
  failover: {
    env: 'DPD_FAILOVER',
    help: 'who sees failovers through: inside, this node too; elsewhere, workers of their own',
    fallback: 'inside',
    parse: oneOf('inside', 'elsewhere'),
  },
  failoverDeadline: FAILOVER_SETTINGS.failoverDeadline,
  stormShare: {
    env: 'DPD_STORM_SHARE',
    help: 'share of silent peers from which verdicts are held back, percent; 0: never',
    fallback: '50',
    parse: integer(0, 100),
  },
  stormCount: {
    env: 'DPD_STORM_COUNT',
    help: 'silent peers that must come together for that',
    fallback: '20',
    parse: integer(1, 1_000_000),
  },
  stormWindow: {
    env: 'DPD_STORM_WINDOW_MS',
    help: 'how far back is looked for that, ms',
    fallback: '10000',
    parse: integer(1_000, 300_000),
  },
  stormHold: {
    env: 'DPD_STORM_HOLD_MS',
    help: 'longest time a verdict is held back, ms',
    fallback: '300000',
    parse: integer(1_000, 86_400_000),
  },
  stormSmallHold: {
    env: 'DPD_STORM_SMALL_HOLD_MS',
    help: 'the same where all of the few peers asked are silent, ms',
    fallback: '60000',
    parse: integer(1_000, 86_400_000),
  },
  stormThen: {
    env: 'DPD_STORM_THEN',
    help: 'what then becomes of it: release, if its peer does not answer either, or drop',
    fallback: 'release',
    parse: oneOf('release', 'drop'),
  },
  stormReleaseRate: {
    env: 'DPD_STORM_RELEASE_RATE',
    help: 'peers with a held verdict that a shard asks anew per second when the storm is over',
    fallback: '100',
    parse: integer(1, 1_000_000),
  },
} as const;

export type NodeSettings = SettingsOf<typeof NODE_SETTINGS>;

const USAGE = 'dpd-node [settings]: runs a node of the DPD offload cluster';

/** The node's settings from this process's flags and environment. */
export function readNodeSettings(): NodeSettings {
  return readSettings(USAGE, NODE_SETTINGS);
}

/** Throws SettingsError that names the member that is wrong. */
function parseDefaultPolicy(text: string): Policy | undefined {
  if (text === '') return undefined;
  const members = readMembers(readJson(text), 'default policy');
  resolvePolicy([{ name: 'cluster', members }], Action.CLEAR, 'default policy');
  return policyOf(members);
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SettingsError('must be JSON');
  }
}
