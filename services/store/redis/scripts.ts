/** Runs the Lua scripts. Every write of a shard goes through one that checks the epoch. */

import { readFileSync } from 'node:fs';
import { FencedError, ForgottenError, LostWritesError, NotReplicatedError } from '../../../workers/base/errors.ts';
import type { RedisClient } from './redis.ts';

export type FencedScript =
  | 'renew-lease'
  | 'write-sas'
  | 'replace-records'
  | 'write-checkpoint'
  | 'append-verdicts'
  | 'confirm-write'
  | 'revive-sas'
  | 'write-path'
  | 'note-translations'
  | 'note-events';
export type OpenScript =
  | 'take-lease'
  | 'acknowledge'
  | 'beat'
  | 'wait-failovers'
  | 'advance-failovers'
  | 'give-up-failovers'
  | 'replay-failover';

/** Those that read, and return bytes. */
export type ReadScript = 'read-sas' | 'due-failovers';

type Argument = string | number | Buffer;

const FENCED = -1;
const FORGOTTEN = -2;
const LOST = -3;
/** Longest wait for replicas, ms. */
const REPLICAS_MS = 2_000;

type ScriptName = FencedScript | OpenScript | ReadScript | 'fence';

/** Folder of each script. */
const FOLDERS: Readonly<Record<ScriptName, string>> = {
  fence: 'lease',
  'take-lease': 'lease',
  'renew-lease': 'lease',
  'confirm-write': 'lease',
  'write-sas': 'shard',
  'replace-records': 'shard',
  'read-sas': 'shard',
  'write-checkpoint': 'shard',
  'write-path': 'shard',
  'note-translations': 'shard',
  'revive-sas': 'shard',
  'note-events': 'shard',
  'append-verdicts': 'shard',
  acknowledge: 'shard',
  'due-failovers': 'failover',
  'wait-failovers': 'failover',
  'advance-failovers': 'failover',
  'give-up-failovers': 'failover',
  'replay-failover': 'failover',
  beat: 'cluster',
};

/** Source of a script. */
export function scriptSource(name: ScriptName): string {
  let source = sources.get(name);
  if (source === undefined) {
    source = readFileSync(new URL(`../scripts/${FOLDERS[name]}/${name}.lua`, import.meta.url), 'utf8');
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

/** Runs a script that reads. Resolves with its reply, strings as bytes. Rejects with the error of the connection. */
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
 * @param redis a separate connection: WAIT blocks all later commands
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

/** The result of a script that may be refused. Throws FencedError, ForgottenError or LostWritesError if it was. */
export function accepted(name: FencedScript | OpenScript, reply: unknown): unknown {
  if (reply === FENCED) throw new FencedError(`${name}: stale epoch`);
  if (reply === FORGOTTEN) throw new ForgottenError(`${name}: no lease in Redis`);
  if (reply === LOST) throw new LostWritesError(`${name}: earlier writes are lost`);
  return reply;
}

function fenced(name: FencedScript): string {
  return `${scriptSource('fence')}\n${scriptSource(name)}`;
}
