/** Runs the Lua scripts. Every write of a shard goes through one that checks the epoch. */

import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

/** The shard has a newer owner: whoever sees this must let go of it. */
export class FencedError extends Error {
  override name = 'FencedError';
}

const FENCED = -1;
const sources = new Map<string, string>();

/** Runs a script by file name. Throws FencedError if it reports a stale epoch, or the error of the connection. */
export async function runScript(
  redis: Redis,
  name: 'take-lease' | 'renew-lease' | 'write-sas' | 'write-checkpoint' | 'append-verdicts' | 'revive-sas',
  keys: readonly string[],
  args: readonly (string | number | Buffer)[],
): Promise<number> {
  let source = sources.get(name);
  if (source === undefined) {
    source = readFileSync(new URL(`scripts/${name}.lua`, import.meta.url), 'utf8');
    sources.set(name, source);
  }
  const reply = Number(await redis.eval(source, keys.length, ...keys, ...args));
  if (reply === FENCED) throw new FencedError(`${name}: stale epoch`);
  return reply;
}
