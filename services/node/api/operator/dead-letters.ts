/** Failovers given up, of all shards of a headend. */

import { status } from '@grpc/grpc-js';
import type { Verdict } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { ApiError } from '../../../api/grpc/errors.ts';
import type { DeadLetter } from '../../../store/shard/dead-letter.ts';
import { FailoverStore } from '../../../store/shard/failover-store.ts';
import { readVerdict } from '../../../store/shard/stored-verdict.ts';
import type { ApiContext } from '../context.ts';

export type FoundLetter = {
  /** The verdict's. */
  readonly id: string;
  readonly shard: number;
  readonly store: FailoverStore;
  readonly letter: DeadLetter;
};

/** All there are, the oldest first. Throws ApiError: NOT_FOUND, or UNAVAILABLE without Redis. */
export async function findDeadLetters(context: ApiContext, headend: string): Promise<FoundLetter[]> {
  const { cluster } = context;
  try {
    const shards = (await cluster.headends()).get(headend);
    if (shards === undefined) throw new ApiError(status.NOT_FOUND, `headend "${headend}" has never registered`);
    const found: FoundLetter[] = [];
    for (let shard = 0; shard < shards; shard++) {
      const store = new FailoverStore(context, { headend, shard });
      for (const [id, letter] of await store.deadLetters(cluster.refused)) found.push({ id, shard, store, letter });
    }
    return found.sort((a, b) => a.letter.givenUpUnix - b.letter.givenUpUnix);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(status.UNAVAILABLE, `Redis: ${(error as Error).name}`);
  }
}

/** The verdict whose failover was given up. */
export function verdictOf(letter: DeadLetter): Verdict {
  return readVerdict(Buffer.from(letter.verdict, 'base64'));
}
