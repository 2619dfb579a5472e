/** An agent's settings. README's table is this one. */

import { hostname } from 'node:os';
import type { TransportSettings } from '../api/grpc/credentials.ts';
import {
  flag,
  integer,
  matching,
  optional,
  readSettings,
  SettingsError,
  type SettingsOf,
  text,
} from '../base/settings.ts';
import { TLS_SETTINGS } from '../node/settings.ts';
import type { AgentSettings } from './agent.ts';
import type { Steering } from './headend/nftables/rules.ts';
import type { StrongSwanSettings } from './headend/strongswan/strongswan.ts';

const ADDRESS = /^\d{1,3}(\.\d{1,3}){3}$/;
const optionalAddress = (value: string) => (value === '' ? undefined : matching(ADDRESS, 'an IPv4 address')(value));

export const AGENT_SETTINGS = {
  address: {
    env: 'DPD_ADDRESS',
    help: 'nodes to begin with: host:port or unix:/path, with commas between',
    fallback: '127.0.0.1:7600',
    parse: text,
  },
  ...TLS_SETTINGS,
  headend: {
    env: 'DPD_HEADEND',
    help: "this headend's name in the cluster",
    fallback: hostname(),
    parse: matching(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 of [A-Za-z0-9._-]'),
  },
  shards: { env: 'DPD_SHARDS', help: 'shards of this headend, a power of two', fallback: '2', parse: integer(1, 256) },
  viciSocket: { env: 'DPD_VICI_SOCKET', help: "charon's vici socket", fallback: '/var/run/charon.vici', parse: text },
  haAddress: {
    env: 'DPD_HA_ADDRESS',
    help: "our end of charon's ha plugin: its `remote`",
    fallback: '127.0.0.2',
    parse: matching(ADDRESS, 'an IPv4 address'),
  },
  charonHaAddress: {
    env: 'DPD_CHARON_HA_ADDRESS',
    help: "charon's end: its `local`",
    fallback: '127.0.0.3',
    parse: matching(ADDRESS, 'an IPv4 address'),
  },
  peers: { env: 'DPD_PEERS', help: 'JSON file of policies and endpoints', fallback: '', parse: optional },
  nodeAddress: {
    env: 'DPD_NODE_ADDRESS',
    help: 'the node is on another host: its address, if it does not say so itself',
    fallback: '',
    parse: optionalAddress,
  },
  nodeInterface: {
    env: 'DPD_NODE_INTERFACE',
    help: "the hub's interface towards the node, then",
    fallback: '',
    parse: optional,
  },
  manageRules: {
    env: 'DPD_MANAGE_RULES',
    help: 'false: the steering rules are managed elsewhere',
    fallback: 'true',
    parse: flag,
  },
  poll: {
    env: 'DPD_POLL_MS',
    help: 'how often traffic counters are read, ms',
    fallback: '5000',
    parse: integer(200, 600_000),
  },
  linger: {
    env: 'DPD_LINGER_MS',
    help: 'time for late replies at a clean stop, ms',
    fallback: '30000',
    parse: integer(0, 600_000),
  },
  keep: {
    env: 'DPD_KEEP',
    help: 'a stop leaves SAs parked and rules up for the next agent',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
  release: {
    env: 'DPD_RELEASE',
    help: 'give back what a former agent left, and exit',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
} as const;

type Raw = SettingsOf<typeof AGENT_SETTINGS>;

const USAGE = 'npm run agent -- [settings]: the sidecar of a strongSwan headend';

/** The agent's settings from this process's flags and environment. Throws SettingsError. */
export function readAgentSettings(argv?: string[]): {
  agent: AgentSettings;
  transport: Omit<TransportSettings, 'address'>;
  strongSwan: StrongSwanSettings;
  release: boolean;
} {
  const raw = readSettings(USAGE, AGENT_SETTINGS, argv);
  if ((raw.shards & (raw.shards - 1)) !== 0) throw new SettingsError(`shards=${raw.shards}: must be a power of two`);
  return {
    agent: { headend: raw.headend, shards: raw.shards, addresses: raw.address.split(',') },
    transport: raw,
    strongSwan: {
      viciSocket: raw.viciSocket,
      haAddress: raw.haAddress,
      charonHaAddress: raw.charonHaAddress,
      shards: raw.shards,
      steering: toSteering(raw),
      installRules: raw.manageRules,
      peersFile: raw.peers,
      pollMs: raw.poll,
      lingerMs: raw.linger,
      releaseOnStop: !raw.keep,
    },
    release: raw.release,
  };
}

function toSteering({ nodeAddress, nodeInterface }: Raw): Steering {
  if (!nodeAddress && !nodeInterface) return { kind: 'local' };
  if (!nodeAddress || !nodeInterface)
    throw new SettingsError('node-address and node-interface go together: give both or none');
  return { kind: 'remote', nodeAddress, nodeInterface };
}
