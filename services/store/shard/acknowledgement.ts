/** What data planes answer to verdicts. */

import { type ShardId, shardKeys } from '../keys.ts';
import type { RedisClient } from '../redis/redis.ts';
import { runScript } from '../redis/scripts.ts';

/** A data plane's answer to an attempt of a verdict. */
export type VerdictAnswer = { readonly verdictId: string; readonly attempt: number; readonly ack: StoredAck };

/** Its part that is stored. */
export type StoredAck = {
  /** Name of the Outcome. */
  readonly outcome: string;
  readonly detail: string;
  /** SPI pair of the SA that took over, in hex; '' if none is known. */
  readonly successor: string;
};

/** Notes acknowledgements; any node may. Of each whether that attempt of the verdict was waiting for one. */
export async function acknowledgeVerdicts(
  redis: RedisClient,
  id: ShardId,
  answers: readonly VerdictAnswer[],
): Promise<boolean[]> {
  const { unacked, failover, acks, attempts, due } = shardKeys(id);
  const args = answers.flatMap(({ verdictId, attempt, ack }) => [verdictId, attempt, JSON.stringify(ack)]);
  const known = await runScript(redis, 'acknowledge', [unacked, failover, acks, attempts, due], args);
  return (known as number[]).map((one) => one === 1);
}
