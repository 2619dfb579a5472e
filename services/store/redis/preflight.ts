/**
 * Checks of Redis before anything relies on it: whether this user may use all commands of the product, and whether the server
 * keeps its data. Without this check a library that may not use one command would find out only later, and try for ever.
 */

import { SettingsError } from '../../../workers/base/errors.ts';
import { BUS } from '../keys.ts';
import type { RedisClient } from './redis.ts';

/** Oldest version that has all commands used here. */
const OLDEST = [6, 2] as const;
/** Prefixes of our keys and of the failover queue's; each gets a scratch key of every type. */
const PLACES = ['dpd:', 'dpd:{preflight/0}:', '{dpd-queue}:'] as const;

/** Commands used, each on scratch keys of one type. */
const TRIALS: Readonly<Record<string, readonly string[]>> = {
  hash: [
    ...['hset K f v', 'hsetnx K f v', 'hget K f', 'hmget K f', 'hgetall K', 'hexists K f', 'hlen K', 'hkeys K'],
    ...['hscan K 0', 'hincrby K n 1', 'hdel K f n'],
  ],
  sorted: [
    ...['zadd K 1 m', 'zscore K m', 'zmscore K m', 'zcard K', 'zrange K 0 1', 'zrangebyscore K 0 1'],
    ...['zremrangebyscore K 0 1', 'zrem K m'],
  ],
  stream: [
    ...['xadd K * f v', 'xrange K - +', 'xrevrange K + -', 'xread STREAMS K 0', 'xinfo STREAM K', 'xtrim K MAXLEN 0'],
  ],
  list: ['lpush K v', 'rpush K v', 'lrange K 0 1', 'llen K', 'lrem K 0 v', 'rpop K'],
  set: ['sadd K m', 'smembers K', 'srem K m'],
  text: ['set K 1 PX 1000', 'get K', 'incr K', 'exists K', 'pttl K', 'type K', 'eval return{} 1 K'],
};
/** A message on the bus that concerns nobody. */
const TO_NOBODY = JSON.stringify({ type: 'look', headend: 'preflight', shard: 0 });
const WITHOUT_KEYS = ['info server', 'time', 'ping', `publish ${BUS} ${TO_NOBODY}`];

/**
 * Tries everything. Returns warnings about the server for an operator.
 * @throws SettingsError that names what this user may not do, or why the server cannot be used
 */
export async function checkRedis(redis: RedisClient): Promise<string[]> {
  const keyed = PLACES.flatMap((place) =>
    Object.entries(TRIALS).flatMap(([type, commands]) => {
      const key = `${place}preflight:${type}`;
      return [...commands, 'del K'].map((command) => trial(redis, command.replace(/\bK\b/, key), place));
    }),
  );
  const answers = await Promise.all([...WITHOUT_KEYS.map((command) => trial(redis, command)), ...keyed]);
  const denied = new Set(answers.filter((answer) => answer !== undefined));
  if (denied.size > 0) throw new SettingsError(`redis-url: this user may not ${[...denied].join(', ')}`);
  return properties(await redis.info());
}

/** The command that the user may not use; undefined if allowed. Other errors are left to the code that really uses the command. */
async function trial(redis: RedisClient, line: string, place = ''): Promise<string | undefined> {
  const [command, ...args] = line.split(' ') as [string, ...string[]];
  try {
    await redis.call(command, ...args);
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    if (message.startsWith('READONLY')) return 'write: the server is a replica, and its master is needed';
    if (!message.startsWith('NOPERM')) return undefined;
    if (/access.*channel/.test(message)) return `use the channel ${BUS}`;
    return /access.*key/.test(message) ? `use the keys ${place.replace(/\{preflight.*/, '')}*` : `run ${command}`;
  }
}

/** Facts in INFO that endanger stored data. */
function properties(info: string): string[] {
  const of = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const [major = 0, minor = 0] = of('redis_version').split('.').map(Number);
  const policy = of('maxmemory_policy');
  const found: [boolean, string][] = [
    [
      major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]),
      `version ${of('redis_version')} is older than ${OLDEST.join('.')}`,
    ],
    [policy !== 'noeviction', `maxmemory-policy ${policy} may throw SAs away: set noeviction`],
    [of('aof_enabled') === '0', 'no append-only file: what it has is lost when it restarts: set appendonly yes'],
  ];
  return found.filter(([holds]) => holds).map(([, text]) => text);
}
