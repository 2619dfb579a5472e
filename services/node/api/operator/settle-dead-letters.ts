/** Failovers given up: an operator sees them, has them tried again, or forgets them. */

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import {
  DeadLetterSchema,
  type ListDeadLettersRequest,
  type ListDeadLettersResponse,
  ListDeadLettersResponseSchema,
  type SettleDeadLettersRequest,
  type SettleDeadLettersResponse,
  SettleDeadLettersResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { ApiError, rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPageSize, LIMITS } from '../../../api/validation.ts';
import { type DeadLetter, FailoverStore } from '../../../store/shard/failover-store.ts';
import { readVerdict, writeVerdict } from '../../../store/shard/stored-verdict.ts';
import type { ConcentratorNode } from '../../node.ts';

const DEFAULT_LIMIT = 100;

type Found = {
  readonly id: string;
  readonly shard: number;
  readonly store: FailoverStore;
  readonly letter: DeadLetter;
};

export async function listDeadLetters(
  node: ConcentratorNode,
  { headend, limit }: ListDeadLettersRequest,
): Promise<ListDeadLettersResponse> {
  rejectIfInvalid([...checkHeadendName('headend', headend), ...checkPageSize(limit, 'limit')]);
  const letters = await find(node, headend);
  return create(ListDeadLettersResponseSchema, {
    total: letters.length,
    letters: letters.slice(0, limit || DEFAULT_LIMIT).map(({ id, shard, letter }) =>
      create(DeadLetterSchema, {
        verdictId: id,
        shard,
        peerId: verdictOf(letter).peerId,
        attempts: letter.attempts,
        reason: letter.reason,
        givenUpUnixMs: BigInt(Math.round(letter.givenUpUnix)),
      }),
    ),
  });
}

export async function settleDeadLetters(
  node: ConcentratorNode,
  { headend, verdictIds, drop }: SettleDeadLettersRequest,
): Promise<SettleDeadLettersResponse> {
  rejectIfInvalid([
    ...checkHeadendName('headend', headend),
    ...(verdictIds.length > LIMITS.pageSize
      ? [{ field: 'verdict_ids', description: `${verdictIds.length} items, at most ${LIMITS.pageSize}` }]
      : []),
  ]);
  const wanted = new Set(verdictIds);
  let settled = 0;
  const shards = new Set<number>();
  for (const { id, shard, store, letter } of await find(node, headend)) {
    if (wanted.size > 0 && !wanted.has(id)) continue;
    if (drop) settled += Number(await store.drop(id));
    else {
      const verdict = { ...verdictOf(letter), attempt: letter.attempts };
      settled += Number(await store.replay(id, letter.attempts, writeVerdict(verdict)));
      shards.add(shard);
    }
  }
  for (const shard of shards) node.concentrator.bus.say({ word: 'look', headend, shard });
  return create(SettleDeadLettersResponseSchema, { settled });
}

async function find(node: ConcentratorNode, headend: string): Promise<Found[]> {
  try {
    const shards = (await node.concentrator.headends()).get(headend);
    if (shards === undefined) throw new ApiError(status.NOT_FOUND, `headend "${headend}" has never registered`);
    const found: Found[] = [];
    for (let shard = 0; shard < shards; shard++) {
      const store = new FailoverStore(node.redis, { headend, shard });
      for (const [id, letter] of await store.deadLetters()) found.push({ id, shard, store, letter });
    }
    return found.sort((a, b) => a.letter.givenUpUnix - b.letter.givenUpUnix);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(status.UNAVAILABLE, `Redis: ${(error as Error).name}`);
  }
}

function verdictOf(letter: DeadLetter) {
  return readVerdict(Buffer.from(letter.verdict, 'base64'));
}
