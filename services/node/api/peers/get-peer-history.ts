/** GetPeerHistory: what happened to a peer lately, wherever it is or was. */

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import {
  type GetPeerHistoryRequest,
  type GetPeerHistoryResponse,
  GetPeerHistoryResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { ApiError, rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPeerId } from '../../../api/validation.ts';
import { readPeerHistory } from '../../../store/shard/peer-history.ts';
import type { ApiContext, Caller } from '../context.ts';

export async function getPeerHistory(
  { cluster, redis }: ApiContext,
  _caller: Caller,
  { headend, peerId }: GetPeerHistoryRequest,
): Promise<GetPeerHistoryResponse> {
  rejectIfInvalid([...checkHeadendName('headend', headend), ...checkPeerId(peerId)]);
  try {
    const shards = (await cluster.headends()).get(headend);
    if (shards === undefined) throw new ApiError(status.NOT_FOUND, `headend "${headend}" has never registered`);
    const events = await readPeerHistory(redis, headend, shards, peerId, cluster.refused);
    return create(GetPeerHistoryResponseSchema, { events });
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(status.UNAVAILABLE, `Redis: ${(error as Error).name}`);
  }
}
