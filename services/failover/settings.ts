/** Settings of failover workers; nodes, which have one inside, share the deadline. docs/settings.md is made from them. */

import { integer, optional } from '../base/settings.ts';
import { KEY_SETTINGS } from '../store/key-settings.ts';
import { TELEMETRY_SETTINGS } from '../telemetry/settings.ts';

export const FAILOVER_SETTINGS = {
  redisUrl: { env: 'REDIS_URL', help: 'the Redis of the nodes', fallback: '', parse: optional },
  ...TELEMETRY_SETTINGS,
  failoverDeadline: {
    env: 'DPD_FAILOVER_DEADLINE_MS',
    help: 'a failover that has not succeeded after this is given up, ms',
    fallback: '600000',
    parse: integer(1_000, 86_400_000),
  },
} as const;

/** Of a worker of its own. */
export const FAILOVER_WORKER_SETTINGS = {
  ...FAILOVER_SETTINGS,
  ...KEY_SETTINGS,
} as const;
