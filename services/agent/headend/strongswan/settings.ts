/** Settings of an agent beside strongSwan. */

import { SettingsError } from '../../../../workers/base/errors.ts';
import { flag, integer, ipv6, matching, optional, type SettingsOf, text } from '../../../base/settings.ts';
import { INTERFACE } from '../nftables/grammar.ts';
import type { Steering } from '../nftables/rules.ts';
import type { StrongSwanSettings } from './strongswan.ts';

const ADDRESS = /^\d{1,3}(\.\d{1,3}){3}$/;
const optionalAddress = (value: string) => (value === '' ? undefined : matching(ADDRESS, 'an IPv4 address')(value));
const optionalAddress6 = (value: string) => (value === '' ? '' : ipv6(value));

export const STRONGSWAN_SETTINGS = {
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
  nodeAddress6: {
    env: 'DPD_NODE_ADDRESS6',
    help: 'the same for IPv6, if SAs of that are to be watched',
    fallback: '',
    parse: optionalAddress6,
  },
  nodeInterface: {
    env: 'DPD_NODE_INTERFACE',
    help: "the hub's interface towards the node, then",
    fallback: '',
    parse: (value: string) => (value === '' ? undefined : matching(INTERFACE, 'an interface')(value)),
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
} as const;

type Raw = SettingsOf<typeof STRONGSWAN_SETTINGS>;

/** What the headend works with. Throws SettingsError. */
export function toStrongSwanSettings(raw: Raw, shards: number): StrongSwanSettings {
  return {
    viciSocket: raw.viciSocket,
    haAddress: raw.haAddress,
    charonHaAddress: raw.charonHaAddress,
    shards,
    steering: toSteering(raw),
    installRules: raw.manageRules,
    peersFile: raw.peers,
    pollMs: raw.poll,
    lingerMs: raw.linger,
    releaseOnStop: !raw.keep,
  };
}

function toSteering({ nodeAddress, nodeAddress6, nodeInterface }: Raw): Steering {
  if (!nodeAddress && !nodeAddress6 && !nodeInterface) return { kind: 'local' };
  if (!nodeAddress || !nodeInterface)
    throw new SettingsError('node-address and node-interface go together: give both or none');
  return { kind: 'remote', nodeAddress, nodeAddress6, nodeInterface };
}
