/**
 * Connections to Redis: one server, Sentinel, or Cluster. Commands fail at once while it is away: each writer decides
 * what to do about it.
 */

import { Cluster, Redis } from 'ioredis';
import { SettingsError } from '../../../workers/base/errors.ts';
import { parseRedisUrl, type RedisTarget, withoutLogin } from './redis-url.ts';
import { SteadySentinelConnector } from './sentinel-connector.ts';

/** Longest wait for one command, ms. */
const COMMAND_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** Longest wait for the first connection, including all requests that it needs, ms. */
const FIRST_CONNECT_MS = 15_000;

export type RedisClient = Redis | Cluster;

const OPTIONS = {
  replyMapping: 'legacy' as const,
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: COMMAND_TIMEOUT_MS,
  connectTimeout: CONNECT_TIMEOUT_MS,
  retryStrategy: retryAfter,
  sentinelRetryStrategy: retryAfter,
  // A master that was demoted while we were connected answers READONLY: the connection is to the wrong server.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
};

const PATIENT = {
  replyMapping: 'legacy' as const,
  lazyConnect: false,
  enableOfflineQueue: true,
  maxRetriesPerRequest: null,
  connectTimeout: CONNECT_TIMEOUT_MS,
  retryStrategy: retryAfter,
  sentinelRetryStrategy: retryAfter,
  reconnectOnError: OPTIONS.reconnectOnError,
};

/**
 * A connection for a library that handles waiting itself: commands queue while Redis is away, and are sent when it is
 * back. Not connected yet when returned.
 */
export function patientRedis(url: string): RedisClient {
  const redis = makeClient(parseRedisUrl(url), PATIENT);
  redis.on('error', () => {});
  redis.on('node error', () => {});
  return redis;
}

/** Connects; reconnects by itself for ever after. Rejects if Redis cannot be reached at first, with the address and the reason. */
export async function connectRedis(url: string): Promise<RedisClient> {
  const redis = makeClient(parseRedisUrl(url), OPTIONS);
  let reason = `no answer within ${FIRST_CONNECT_MS} ms`;
  // Commands carry the error of a connection that is lost later.
  const note = (error: Error) => {
    reason = error.message;
  };
  redis.on('error', note);
  redis.on('node error', note);
  const deadline = Promise.withResolvers<never>();
  const timer = setTimeout(() => deadline.reject(new Error(reason)), FIRST_CONNECT_MS);
  try {
    await Promise.race([redis.connect(), deadline.promise]);
    return redis;
  } catch {
    // Otherwise it would go on trying without a user.
    redis.disconnect();
    throw new Error(`${withoutLogin(url)}: ${reason}`);
  } finally {
    clearTimeout(timer);
  }
}

/** The same for a program that starts. Throws SettingsError. */
export function connectAtStart(url: string): Promise<RedisClient> {
  return connectRedis(url).catch((error: Error) => {
    throw new SettingsError(`redis-url ${error.message}`);
  });
}

function makeClient(target: RedisTarget, options: typeof OPTIONS | typeof PATIENT): RedisClient {
  switch (target.kind) {
    case 'socket':
      return new Redis({ ...options, path: target.path });
    case 'server':
      return new Redis(target.url, { ...options, ...target.login });
    case 'sentinel':
      return new Redis({
        ...options,
        ...target.login,
        Connector: SteadySentinelConnector,
        sentinels: [...target.servers],
        name: target.name,
        failoverDetector: true,
        ...(target.login.tls && { enableTLSForSentinelMode: true, sentinelTLS: target.login.tls }),
      });
    case 'cluster':
      return new Cluster([...target.servers], {
        lazyConnect: options.lazyConnect,
        enableOfflineQueue: options.enableOfflineQueue,
        clusterRetryStrategy: retryAfter,
        slotsRefreshInterval: 2_000,
        redisOptions: { ...options, ...target.login },
      });
  }
}

function retryAfter(attempt: number): number {
  return Math.min(100 * attempt, 2_000);
}

/** Redis's clock, Unix ms. */
export async function redisNow(redis: RedisClient): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}
