/** Whether a node of the same name lives: two would take each other's shards for ever. */

import { setTimeout as sleep } from 'node:timers/promises';
import { NODES } from '../keys.ts';
import { type RedisClient, redisNow } from '../redis/redis.ts';

/** A node that lives says so every second. */
const WATCH_MS = 2_200;
const LOOK_MS = 100;

/** Address of a live node with this name. Takes up to 2.2 s if such a node has not reported that it is gone. */
export async function livingTwin(redis: RedisClient, id: string): Promise<string | undefined> {
  const first = await readBeat(redis, id);
  if (!first || first.untilMs <= (await redisNow(redis))) return undefined;
  const deadline = performance.now() + WATCH_MS;
  while (performance.now() < deadline) {
    await sleep(LOOK_MS);
    const now = await readBeat(redis, id);
    if (!now) return undefined;
    if (now.untilMs > first.untilMs) return now.address;
  }
  return undefined;
}

async function readBeat(redis: RedisClient, id: string): Promise<{ untilMs: number; address: string } | undefined> {
  const [, until, description] = /^(\d+) (.*)$/s.exec((await redis.hget(NODES, id)) ?? '') ?? [];
  if (until === undefined) return undefined;
  const [, address = 'an address that cannot be read'] = /"address":"([^"]*)"/.exec(description!) ?? [];
  return { untilMs: Number(until), address };
}
