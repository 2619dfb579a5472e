/** SettleDeadLetters: failovers given up are tried again, or forgotten. */

import { create } from '@bufbuild/protobuf';
import {
  type SettleDeadLettersRequest,
  type SettleDeadLettersResponse,
  SettleDeadLettersResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName, LIMITS } from '../../../api/validation.ts';
import { writeVerdict } from '../../../store/shard/stored-verdict.ts';
import type { ApiContext, Caller } from '../context.ts';
import { findDeadLetters, verdictOf } from './dead-letters.ts';

export async function settleDeadLetters(
  context: ApiContext,
  _caller: Caller,
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
  for (const { id, shard, store, letter } of await findDeadLetters(context, headend)) {
    if (wanted.size > 0 && !wanted.has(id)) continue;
    if (drop) settled += Number(await store.drop(id));
    else {
      const verdict = { ...verdictOf(letter), attempt: letter.attempts };
      settled += Number(await store.replay(id, letter.attempts, writeVerdict(verdict)));
      shards.add(shard);
    }
  }
  for (const shard of shards) context.cluster.bus.publish({ type: 'look', headend, shard });
  return create(SettleDeadLettersResponseSchema, { settled });
}
