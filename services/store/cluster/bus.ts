/**
 * Messages between nodes, over Redis pub/sub. A message may get lost: everything that depends on one also happens without it,
 * only later. What no node of the cluster sent is dropped.
 */

import { RecordError } from '../../../workers/base/errors.ts';
import { isObject, isText, isWhole } from '../../base/shape.ts';
import { BUS, isName, MOST_SHARDS, type ShardId } from '../keys.ts';
import { parseJson } from '../record.ts';
import type { RecordMac } from '../record-mac.ts';
import { patientRedis, type RedisClient } from '../redis/redis.ts';

/** A process that wants to speak for a headend. */
export type Claim = {
  /** See Hello.instance. */
  readonly instance: string;
  readonly takeOver: boolean;
};

export type ClusterMessage =
  /** Another node wants the shard: its owner writes its checkpoint and gives the shard up. */
  | ({ readonly type: 'yield'; readonly epoch: string; readonly to: string; readonly claim: Claim } & ShardId)
  /** The owner refuses: another process speaks for the headend, from this address. */
  | ({ readonly type: 'kept'; readonly epoch: string; readonly address: string } & ShardId)
  /** There is a verdict to deliver again. */
  | ({ readonly type: 'look' } & ShardId)
  /** A data plane has answered a verdict whose trace is with another node. */
  | ({ readonly type: 'acknowledged'; readonly verdictId: string; readonly outcome: string } & ShardId);

export type Bus = {
  publish(message: ClusterMessage): void;
  close(): void;
};

/** Longest texts in a message, and longest message, characters. */
const MOST = { epoch: 20, instance: 128, address: 256, verdictId: 128, outcome: 64, message: 1_024 };

/** Joins the bus with a connection of its own. Rejects if Redis cannot be reached. @param refused told of each message that is none */
export async function joinBus(
  { redis, url, mac }: { readonly redis: RedisClient; readonly url: string; readonly mac: RecordMac },
  onMessage: (message: ClusterMessage) => void,
  refused: (reason: string) => void,
): Promise<Bus> {
  const subscriber = patientRedis(url);
  subscriber.on('message', (_channel: string, text: string) => {
    const message = readMessage(text, mac);
    if (message instanceof RecordError) refused(message.message);
    else onMessage(message);
  });
  await subscriber.subscribe(BUS);
  return {
    publish: (message) => void redis.publish(BUS, mac.sealText(BUS, JSON.stringify(message))).catch(() => {}),
    close: () => subscriber.disconnect(),
  };
}

/** The message in a text with its MAC, or what is wrong with the text. */
export function readMessage(sealed: string, mac: RecordMac): ClusterMessage | RecordError {
  const refuse = (why: string) => new RecordError(BUS, why);
  if (sealed.length > MOST.message) return refuse(`${sealed.length} characters`);
  const text = mac.openText(BUS, sealed);
  if (text === undefined) return refuse('no node sent it');
  const message = parseJson(text);
  if (!isObject(message)) return refuse('no object of JSON');
  const { type, headend, shard, epoch, to, claim, address, verdictId, outcome } = message;
  if (!isName(headend) || !isWhole(shard, 0, MOST_SHARDS - 1)) return refuse('of no shard');
  if (type === 'look') return { type, headend, shard };
  if (type === 'yield' && isText(epoch, MOST.epoch) && isName(to) && isClaim(claim))
    return { type, headend, shard, epoch, to, claim };
  if (type === 'kept' && isText(epoch, MOST.epoch) && isText(address, MOST.address))
    return { type, headend, shard, epoch, address };
  if (type === 'acknowledged' && isText(verdictId, MOST.verdictId) && isText(outcome, MOST.outcome))
    return { type, headend, shard, verdictId, outcome };
  return refuse('of no known kind, or without its parts');
}

function isClaim(value: unknown): value is Claim {
  return isObject(value) && isText(value['instance'], MOST.instance) && typeof value['takeOver'] === 'boolean';
}
