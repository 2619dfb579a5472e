/** Connections to Redis. Commands fail at once while it is away: whoever writes decides what to do about it. */

import { Redis, type RedisOptions } from 'ioredis';

/** Longest wait for one command, ms. */
const COMMAND_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 10_000;

const OPTIONS: RedisOptions & { replyMapping: 'legacy' } = {
  replyMapping: 'legacy',
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: COMMAND_TIMEOUT_MS,
  connectTimeout: CONNECT_TIMEOUT_MS,
  retryStrategy: (attempt: number) => Math.min(100 * attempt, 2_000),
};

/** Connects; reconnects by itself for ever after. Rejects if Redis cannot be reached at first. */
export async function connectRedis(url: string): Promise<Redis> {
  const redis = url.startsWith('unix:')
    ? new Redis({ ...OPTIONS, path: url.slice('unix:'.length) })
    : new Redis(url, OPTIONS);
  // Without a listener every failed attempt to reconnect would be printed; commands carry the error anyway.
  redis.on('error', () => {});
  await redis.connect();
  return redis;
}
