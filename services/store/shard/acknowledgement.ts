/** Answers of data planes to verdicts. */

import { type ShardId, shardKeys } from '../keys.ts';
import type { RedisClient } from '../redis/redis.ts';
import { runScript } from '../redis/scripts.ts';

/** A data plane's answer to an attempt of a verdict. */
export type VerdictAnswer = {
  readonly verdictId: string;
  readonly attempt: number;
  /** Why no endpoint came up, not ''; undefined if the failover is complete. */
  readonly failed: string | undefined;
};

/**
 * Notes acknowledgements, and ends successful failovers; any node may do so. Returns for each whether that attempt of the verdict was
 * waiting for one.
 */
export async function acknowledgeVerdicts(
  redis: RedisClient,
  id: ShardId,
  answers: readonly VerdictAnswer[],
): Promise<boolean[]> {
  const { attempts, failed, progress, due, failover, unacked, deadLetters } = shardKeys(id);
  const args = answers.flatMap(({ verdictId, attempt, failed }) => [verdictId, attempt, failed ?? '']);
  const keys = [attempts, failed, progress, due, failover, unacked, deadLetters];
  const known = await runScript(redis, 'acknowledge', keys, args);
  return (known as number[]).map((one) => one === 1);
}
