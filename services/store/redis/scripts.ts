/** Runs the Lua scripts. Every write of a shard goes through one that checks the epoch. */

import { readFileSync } from 'node:fs';
import type { RedisClient } from './redis.ts';

/** The shard has a newer owner: whoever sees this must let go of it. */
export class FencedError extends Error {
  override name = 'FencedError';
}

/** Redis has forgotten the shard: its owner writes everything again. */
export class ForgottenError extends Error {
  override name = 'ForgottenError';
}

/** Redis answers, but does not know of a write that it had taken: it failed over, or was restarted from an old file. */
export class LostWritesError extends Error {
  override name = 'LostWritesError';
}

/** Fewer replicas than asked for have a write: it counts as not written yet. */
export class NotReplicatedError extends Error {
  override name = 'NotReplicatedError';
}

export type FencedScript =
  | 'renew-lease'
  | 'write-sas'
  | 'write-checkpoint'
  | 'append-verdicts'
  | 'confirm-write'
  | 'revive-sas'
  | 'write-path';
export type OpenScript =
  | 'take-lease'
  | 'read-history'
  | 'acknowledge'
  | 'beat'
  | 'advance-failovers'
  | 'end-failover'
  | 'replay-failover';

/** Those that only read, and return bytes. */
export type ReadScript = 'read-sas';

type Argument = string | number | Buffer;

const FENCED = -1;
const FORGOTTEN = -2;
const LOST = -3;
/** Longest wait for replicas, ms. */
const REPLICAS_MS = 2_000;

/** Those that history.lua is put before. */
const WITH_HISTORY: ReadonlySet<string> = new Set(['take-lease', 'write-checkpoint', 'read-history']);

/** Folders of the scripts that have one. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  cluster: ['beat'],
  failover: ['replay-failover', 'advance-failovers'],
  lease: ['confirm-write', 'fence', 'renew-lease', 'take-lease'],
  shard: ['acknowledge', 'append-verdicts', 'read-sas', 'revive-sas', 'write-checkpoint', 'write-path', 'write-sas'],
};

/** Source of a script by file name, with the functions it calls. */
export function scriptSource(name: FencedScript | OpenScript | ReadScript | 'fence' | 'history'): string {
  let source = sources.get(name);
  if (source === undefined) {
    const room = Object.keys(ROOMS).find((folder) => ROOMS[folder]!.includes(name)) ?? '.';
    source = readFileSync(new URL(`../scripts/${room}/${name}.lua`, import.meta.url), 'utf8');
    if (WITH_HISTORY.has(name)) source = `${scriptSource('history')}\n${source}`;
    sources.set(name, source);
  }
  return source;
}
const sources = new Map<string, string>();

/** Runs a script that needs no ownership. Rejects with the error of the connection. */
export function runScript(
  redis: RedisClient,
  name: OpenScript,
  keys: readonly string[],
  args: readonly Argument[],
): Promise<unknown> {
  return redis.eval(scriptSource(name), keys.length, ...keys, ...args);
}

/** Runs a script that only reads. Resolves with its reply, strings as bytes. Rejects with the error of the connection. */
export function runReader(
  redis: RedisClient,
  name: ReadScript,
  keys: readonly string[],
  args: readonly Argument[],
): Promise<unknown> {
  return redis.callBuffer('eval', scriptSource(name), keys.length, ...keys, ...args);
}

/**
 * Runs a script behind the fence. `keys` begin with the lease, `args` with epoch and write.
 * Resolves with what the script returns. Throws FencedError, ForgottenError, LostWritesError, or the error of the connection.
 */
export async function runFenced(
  redis: RedisClient,
  name: FencedScript,
  keys: readonly string[],
  args: readonly Argument[],
): Promise<unknown> {
  return accepted(name, await redis.eval(fenced(name), keys.length, ...keys, ...args));
}

/**
 * Waits until so many replicas have a write that Redis has acknowledged. Throws NotReplicatedError if they do not soon, or
 * what {@link runFenced} throws.
 * @param redis a connection for this alone: WAIT holds up whatever comes behind it
 */
export async function confirmWrite(
  redis: RedisClient,
  lease: string,
  epoch: number,
  write: number,
  replicas: number,
): Promise<void> {
  // WAIT speaks of the writes of its own connection: both go down the same one.
  const results = await redis
    .pipeline([
      ['eval', fenced('confirm-write'), 1, lease, epoch, `${write}/${write}`],
      ['wait', replicas, REPLICAS_MS],
    ])
    .exec();
  const [[evalError, reply], [waitError, reached]] = results as [[Error | null, unknown], [Error | null, number]];
  if (evalError ?? waitError) throw evalError ?? waitError;
  accepted('confirm-write', reply);
  if (reached < replicas) throw new NotReplicatedError(`${reached} of ${replicas} replicas`);
}

/** What a script that may be refused returned. Throws FencedError, ForgottenError or LostWritesError if it was. */
export function accepted(name: FencedScript | OpenScript, reply: unknown): unknown {
  if (reply === FENCED) throw new FencedError(`${name}: stale epoch`);
  if (reply === FORGOTTEN) throw new ForgottenError(`${name}: no lease in Redis`);
  if (reply === LOST) throw new LostWritesError(`${name}: earlier writes are lost`);
  return reply;
}

function fenced(name: FencedScript): string {
  return `${scriptSource('fence')}\n${scriptSource(name)}`;
}
