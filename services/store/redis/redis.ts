/**
 * Connections to Redis: one server, Sentinel, or Cluster. Commands fail at once while it is away: each writer decides
 * what to do about it.
 */

import { Cluster, Redis, type RedisOptions } from 'ioredis';

import { SettingsError } from '../../../workers/base/errors.ts';
import { SteadySentinelConnector } from './sentinel-connector.ts';

/** Longest wait for one command, ms. */
const COMMAND_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** Longest wait for the first connection, including all requests that it needs, ms. */
const FIRST_CONNECT_MS = 15_000;
const SENTINEL_PORT = 26_379;
const REDIS_PORT = 6_379;

export type RedisClient = Redis | Cluster;

type Server = { readonly host: string; readonly port: number };
type Login = Pick<RedisOptions, 'username' | 'password' | 'db' | 'tls'>;

/** Where Redis is. */
export type RedisTarget =
  | { readonly kind: 'socket'; readonly path: string }
  | { readonly kind: 'server'; readonly url: string }
  | { readonly kind: 'sentinel'; readonly name: string; readonly servers: readonly Server[]; readonly login: Login }
  | { readonly kind: 'cluster'; readonly servers: readonly Server[]; readonly login: Login };

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

const LIST_URL = /^(rediss?)\+(sentinel|cluster):\/\/(?:(?:([^:@]*)(?::([^@]*))?)@)?([^/]+)(?:\/(.*))?$/;

/**
 * Reads redis://, rediss://, unix:/path, redis+cluster://host:port,host:port and
 * redis+sentinel://host:port,host:port/name[/db]. Throws SettingsError.
 */
function parseRedisUrl(url: string): RedisTarget {
  if (url.startsWith('unix:')) return { kind: 'socket', path: url.slice('unix:'.length) };
  if (/^rediss?:\/\//.test(url)) return { kind: 'server', url };
  const [, scheme, mode, username, password, list, rest] = LIST_URL.exec(url) ?? [];
  if (!list)
    throw new SettingsError(
      'redis-url: must be redis://, rediss://, unix:/path, redis+sentinel:// or redis+cluster://',
    );
  const servers = list.split(',').map((text) => parseServer(text, mode === 'sentinel' ? SENTINEL_PORT : REDIS_PORT));
  const login: Login = {
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    ...(scheme === 'rediss' && { tls: {} }),
  };
  if (mode === 'cluster') return { kind: 'cluster', servers, login };
  const [name, db] = (rest ?? '').split('/');
  if (!name) throw new SettingsError("redis-url: redis+sentinel://host:port,.../name needs the master's name");
  return { kind: 'sentinel', name, servers, login: db ? { ...login, db: Number(db) } : login };
}

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

/** A URL without its secrets. */
function withoutLogin(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//');
}

function makeClient(target: RedisTarget, options: typeof OPTIONS | typeof PATIENT): RedisClient {
  switch (target.kind) {
    case 'socket':
      return new Redis({ ...options, path: target.path });
    case 'server':
      return new Redis(target.url, options);
    case 'sentinel':
      return new Redis({
        ...options,
        ...target.login,
        Connector: SteadySentinelConnector,
        sentinels: [...target.servers],
        name: target.name,
        failoverDetector: true,
        ...(target.login.tls && { enableTLSForSentinelMode: true }),
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

function parseServer(text: string, fallbackPort: number): Server {
  const [, host, port] = /^(.+?)(?::(\d+))?$/.exec(text) ?? [];
  if (!host) throw new SettingsError(`redis-url: "${text}" is not host:port`);
  return { host, port: port === undefined ? fallbackPort : Number(port) };
}

/** Redis's clock, Unix ms. */
export async function redisNow(redis: RedisClient): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}
