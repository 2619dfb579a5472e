/**
 * What nodes tell each other, over Redis pub/sub. A message may get lost: everything that depends on one also happens without it,
 * only later.
 */

import { BUS, type ShardId } from '../keys.ts';
import { patientRedis, type RedisClient } from '../redis/redis.ts';

/** Who wants to speak for a headend. */
export type Claim = {
  /** See Hello.instance. */
  readonly instance: string;
  readonly takeOver: boolean;
};

export type ClusterMessage =
  /** Another node wants the shard: its owner writes its checkpoint and lets go. */
  | ({ readonly type: 'yield'; readonly epoch: string; readonly to: string; readonly claim: Claim } & ShardId)
  /** Its owner does not: another process speaks for the headend, from this address. */
  | ({ readonly type: 'kept'; readonly epoch: string; readonly address: string } & ShardId)
  /** There is a verdict to deliver again. */
  | ({ readonly type: 'look' } & ShardId)
  /** A data plane has answered a verdict whose trace is with another node. */
  | ({ readonly type: 'acknowledged'; readonly verdictId: string; readonly outcome: string } & ShardId);

export type Bus = {
  publish(message: ClusterMessage): void;
  close(): void;
};

/** Joins the bus with a connection of its own. Rejects if Redis cannot be reached. */
export async function joinBus(
  redis: RedisClient,
  url: string,
  onMessage: (message: ClusterMessage) => void,
): Promise<Bus> {
  const subscriber = patientRedis(url);
  subscriber.on('message', (_channel: string, text: string) => onMessage(JSON.parse(text) as ClusterMessage));
  await subscriber.subscribe(BUS);
  return {
    publish: (message) => void redis.publish(BUS, JSON.stringify(message)).catch(() => {}),
    close: () => subscriber.disconnect(),
  };
}
