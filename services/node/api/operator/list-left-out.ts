/** ListLeftOut: SAs that headends have and the cluster does not watch. */

import { create } from '@bufbuild/protobuf';
import {
  type ListLeftOutRequest,
  type ListLeftOutResponse,
  ListLeftOutResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import type { ApiContext, Caller } from '../context.ts';
import { checkHeadendFilter, shardsOf } from './filter.ts';

export async function listLeftOut(
  context: ApiContext,
  _caller: Caller,
  { headend }: ListLeftOutRequest,
): Promise<ListLeftOutResponse> {
  rejectIfInvalid(checkHeadendFilter(headend));
  const leftOut = shardsOf(context, headend).map((shard) => shard.leftOut);
  return create(ListLeftOutResponseSchema, {
    sas: leftOut.flatMap(({ sas }) => sas),
    total: leftOut.reduce((sum, { total }) => sum + total, 0),
  });
}
