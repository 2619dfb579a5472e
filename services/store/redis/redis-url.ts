/** Where Redis is, and how to log in there: one text with all of it, which every part of a program can be given. */

import { readFileSync } from 'node:fs';
import { type ConnectionOptions, createSecureContext } from 'node:tls';
import type { RedisOptions } from 'ioredis';
import { SettingsError } from '../../../workers/base/errors.ts';

const SENTINEL_PORT = 26_379;
const REDIS_PORT = 6_379;

type Server = { readonly host: string; readonly port: number };
export type Login = Pick<RedisOptions, 'username' | 'password' | 'db' | 'tls'>;
export type SentinelLogin = Pick<RedisOptions, 'sentinelUsername' | 'sentinelPassword'>;

/** Where Redis is. */
export type RedisTarget =
  | { readonly kind: 'socket'; readonly path: string }
  | { readonly kind: 'server'; readonly url: string; readonly login: Pick<Login, 'tls'> }
  | {
      readonly kind: 'sentinel';
      readonly name: string;
      readonly servers: readonly Server[];
      readonly login: Login & SentinelLogin;
    }
  | { readonly kind: 'cluster'; readonly servers: readonly Server[]; readonly login: Login };

const LIST_URL = /^(rediss?)\+(sentinel|cluster):\/\/(?:(?:([^:@]*)(?::([^@]*))?)@)?([^/]+)(?:\/(.*))?$/;
/** What may stand behind a question mark. */
const PARAMETERS = ['ca', 'cert', 'key', 'servername', 'sentinel-user', 'sentinel-password'] as const;
type Parameters = Partial<Record<(typeof PARAMETERS)[number], string>>;

/**
 * Reads redis://, rediss://, unix:/path, redis+cluster://host:port,host:port and
 * redis+sentinel://host:port,host:port/name[/db], each with parameters behind a question mark. Throws SettingsError.
 */
export function parseRedisUrl(text: string): RedisTarget {
  if (text.startsWith('unix:')) return { kind: 'socket', path: text.slice('unix:'.length) };
  const [url = '', query] = text.split('?');
  const parameters = readParameters(query);
  if (/^rediss?:\/\//.test(url)) {
    refuseUnless(url.startsWith('rediss:'), false, parameters);
    return { kind: 'server', url, login: url.startsWith('rediss:') ? { tls: tlsOf(parameters) } : {} };
  }
  const [, scheme, mode, username, password, list, rest] = LIST_URL.exec(url) ?? [];
  if (!list)
    throw new SettingsError(
      'redis-url: must be redis://, rediss://, unix:/path, redis+sentinel:// or redis+cluster://',
    );
  refuseUnless(scheme === 'rediss', mode === 'sentinel', parameters);
  const servers = list.split(',').map((one) => parseServer(one, mode === 'sentinel' ? SENTINEL_PORT : REDIS_PORT));
  const login: Login = {
    ...(username && { username: decode(username) }),
    ...(password && { password: decode(password) }),
    ...(scheme === 'rediss' && { tls: tlsOf(parameters) }),
  };
  if (mode === 'cluster') return { kind: 'cluster', servers, login };
  const [name, db] = (rest ?? '').split('/');
  if (!name) throw new SettingsError("redis-url: redis+sentinel://host:port,.../name needs the master's name");
  const { 'sentinel-user': sentinelUsername, 'sentinel-password': sentinelPassword } = parameters;
  const sentinel: SentinelLogin = {
    ...(sentinelUsername && { sentinelUsername }),
    ...(sentinelPassword && { sentinelPassword }),
  };
  return { kind: 'sentinel', name, servers, login: { ...login, ...sentinel, ...(db && { db: Number(db) }) } };
}

/** A URL without its secrets. */
export function withoutLogin(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//').replace(/\?.*$/, '');
}

function readParameters(query: string | undefined): Parameters {
  const parameters = Object.fromEntries(new URLSearchParams(query));
  for (const name of Object.keys(parameters))
    if (!PARAMETERS.includes(name as (typeof PARAMETERS)[number]))
      throw new SettingsError(`redis-url: "${name}" is not known behind "?"; there are ${PARAMETERS.join(', ')}`);
  return parameters;
}

/** What would have no effect is a mistake: its author believes that it has. */
function refuseUnless(tls: boolean, sentinel: boolean, parameters: Parameters): void {
  for (const name of Object.keys(parameters)) {
    if (name.startsWith('sentinel-') ? sentinel : tls) continue;
    const scheme = name.startsWith('sentinel-') ? 'redis+sentinel' : 'rediss';
    throw new SettingsError(`redis-url: "${name}" is only for ${scheme}://`);
  }
}

/** Throws SettingsError that names the file which cannot be used. */
function tlsOf({ ca, cert, key, servername }: Parameters): ConnectionOptions {
  if ((cert === undefined) !== (key === undefined)) throw new SettingsError('redis-url: cert and key go together');
  const options = { ...read('ca', ca), ...read('cert', cert), ...read('key', key) };
  try {
    createSecureContext(options);
  } catch {
    throw new SettingsError('redis-url: ca, cert and key cannot be used together');
  }
  return { ...options, ...(servername && { servername }) };
}

function read(name: 'ca' | 'cert' | 'key', path: string | undefined): ConnectionOptions {
  if (path === undefined) return {};
  try {
    return { [name]: readFileSync(path) };
  } catch (error) {
    throw new SettingsError(`redis-url: ${name} ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new SettingsError('redis-url: user or password is not percent-encoded');
  }
}

function parseServer(text: string, fallbackPort: number): Server {
  const [, host, port] = /^(.+?)(?::(\d+))?$/.exec(text) ?? [];
  if (!host) throw new SettingsError(`redis-url: "${text}" is not host:port`);
  return { host, port: port === undefined ? fallbackPort : Number(port) };
}
