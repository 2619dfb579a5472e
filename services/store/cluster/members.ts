/** Which nodes live: each says so every second, and learns of the others in the same step. */

import { NODES } from '../keys.ts';
import type { RedisClient } from '../redis/redis.ts';
import { runScript } from '../redis/scripts.ts';

/** How long a beat counts, ms. */
export const BEAT_TTL_MS = 3_500;
/** A silent node is forgotten after this, ms. */
const FORGET_MS = 600_000;

/** A node as others know it. */
export type Member = {
  readonly id: string;
  /** Where agents reach it: host:port or unix:/path. */
  readonly address: string;
  /** It gives its shards away and takes none. */
  readonly draining: boolean;
  readonly shards: number;
  readonly peers: number;
};

/** Notes that this node lives. Returns the nodes that do, by id, this one among them. */
export async function beat(redis: RedisClient, { id, ...description }: Member): Promise<Member[]> {
  const reply = await runScript(redis, 'beat', [NODES], [id, JSON.stringify(description), BEAT_TTL_MS, FORGET_MS]);
  return decode(reply as string[]);
}

/** Says that this node is gone. */
export async function leave(redis: RedisClient, id: string): Promise<void> {
  await runScript(redis, 'beat', [NODES], [id, '', 0, FORGET_MS]);
}

function decode(flat: readonly string[]): Member[] {
  const members: Member[] = [];
  for (let n = 0; n < flat.length; n += 2)
    members.push({ id: flat[n]!, ...(JSON.parse(flat[n + 1]!) as Omit<Member, 'id'>) });
  return members.sort((a, b) => (a.id < b.id ? -1 : 1));
}
