/**
 * What nodes call out to each other, over Redis pub/sub. A word may get lost: everything that depends on one also happens
 * without it, only later.
 */

import { BUS, type ShardId } from '../keys.ts';
import { patientRedis, type RedisClient } from '../redis/redis.ts';

export type Word =
  /** Another node wants the shard: its owner writes its checkpoint and lets go. */
  | ({ readonly word: 'yield'; readonly epoch: string; readonly to: string } & ShardId)
  /** There is a verdict to deliver again, or evidence is asked for. */
  | ({ readonly word: 'look' } & ShardId)
  /** A data plane has answered a verdict whose trace is with another node. */
  | ({ readonly word: 'acknowledged'; readonly verdictId: string; readonly outcome: string } & ShardId);

export type Bus = {
  say(word: Word): void;
  close(): void;
};

/** Joins the bus with a connection of its own. Rejects if Redis cannot be reached. */
export async function joinBus(redis: RedisClient, url: string, hear: (word: Word) => void): Promise<Bus> {
  const ears = patientRedis(url);
  ears.on('message', (_channel: string, text: string) => hear(JSON.parse(text) as Word));
  await ears.subscribe(BUS);
  return {
    say: (word) => void redis.publish(BUS, JSON.stringify(word)).catch(() => {}),
    close: () => ears.disconnect(),
  };
}
