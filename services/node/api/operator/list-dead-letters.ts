/** ListDeadLetters: failovers given up, until an operator settles them. */

import { create } from '@bufbuild/protobuf';
import {
  DeadLetterSchema,
  type ListDeadLettersRequest,
  type ListDeadLettersResponse,
  ListDeadLettersResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPageSize, DEFAULT_PAGE } from '../../../api/validation.ts';
import type { ApiContext, Caller } from '../context.ts';
import { findDeadLetters, verdictOf } from './dead-letters.ts';

export async function listDeadLetters(
  context: ApiContext,
  _caller: Caller,
  { headend, limit }: ListDeadLettersRequest,
): Promise<ListDeadLettersResponse> {
  rejectIfInvalid([...checkHeadendName('headend', headend), ...checkPageSize(limit, 'limit')]);
  const letters = await findDeadLetters(context, headend);
  return create(ListDeadLettersResponseSchema, {
    total: letters.length,
    letters: letters.slice(0, limit || DEFAULT_PAGE).map(({ id, shard, letter }) =>
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
