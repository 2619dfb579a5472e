/** An agent's settings: those of every agent, and those of the kind of headend that it stands beside. */

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { SettingsError } from '../../workers/base/errors.ts';
import type { TransportSettings } from '../api/grpc/credentials.ts';
import { DEFAULT_ADDRESS, TLS_SETTINGS } from '../api/transport-settings.ts';
import type { Logger } from '../base/log.ts';
import { CORE_DUMPS } from '../base/process/settings.ts';
import { flag, integer, matching, oneOf, readSettings, text } from '../base/settings.ts';
import { type HttpAddress, TELEMETRY_SETTINGS } from '../telemetry/settings.ts';
import type { AgentSettings } from './agent.ts';
import type { Headend } from './headend/headend.ts';
import { HEADEND_KINDS, HEADENDS } from './headend/kinds.ts';

export const AGENT_SETTINGS = {
  address: {
    env: 'DPD_ADDRESS',
    help: 'nodes to begin with: host:port or unix:/path, with commas between',
    ...DEFAULT_ADDRESS,
    parse: text,
  },
  ...TELEMETRY_SETTINGS,
  ...TLS_SETTINGS,
  ...CORE_DUMPS,
  headend: {
    env: 'DPD_HEADEND',
    help: "this headend's name in the cluster",
    fallback: hostname(),
    varies: 'the host name',
    parse: matching(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 of [A-Za-z0-9._-]'),
  },
  kind: {
    env: 'DPD_KIND',
    help: `what the headend is: ${HEADEND_KINDS.join(' or ')}`,
    fallback: 'strongswan',
    parse: oneOf(...HEADEND_KINDS),
  },
  shards: { env: 'DPD_SHARDS', help: 'shards of this headend, a power of two', fallback: '2', parse: integer(1, 256) },
  takeOver: {
    env: 'DPD_TAKE_OVER',
    help: 'speak for the headend though another process does: that one is put out',
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

const USAGE = 'dpd-agent [settings]: the sidecar of a headend';

/** The agent's settings from flags and environment. Throws SettingsError. */
export function readAgentSettings(
  argv = process.argv.slice(2),
  env: NodeJS.ProcessEnv = process.env,
): {
  agent: AgentSettings;
  transport: Omit<TransportSettings, 'address'>;
  /** Makes the headend. Throws SettingsError if its own settings cannot be used. */
  createHeadend: (log: Logger) => Headend;
  release: boolean;
  metricsAddress: HttpAddress | undefined;
  coreDumps: boolean;
} {
  // The kind of headend defines the other settings.
  const { kind } = readSettings(USAGE, { kind: AGENT_SETTINGS.kind }, { argv, env, others: 'ignore' });
  const { settings, create } = HEADENDS[kind];
  const raw = readSettings(USAGE, { ...AGENT_SETTINGS, ...settings }, { argv, env });
  if ((raw.shards & (raw.shards - 1)) !== 0) throw new SettingsError(`shards=${raw.shards}: must be a power of two`);
  return {
    agent: {
      headend: raw.headend,
      shards: raw.shards,
      addresses: raw.address.split(','),
      instance: randomUUID(),
      takeOver: raw.takeOver,
    },
    transport: raw,
    createHeadend: (log) => create(raw, raw.shards, log),
    release: raw.release,
    metricsAddress: raw.metricsAddress,
    coreDumps: raw.coreDumps,
  };
}
