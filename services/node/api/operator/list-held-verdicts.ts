/** ListHeldVerdicts: verdicts that the storm guard keeps back. */

import { create, fromBinary } from '@bufbuild/protobuf';
import {
  HeldVerdictSchema,
  type ListHeldVerdictsRequest,
  type ListHeldVerdictsResponse,
  ListHeldVerdictsResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkPageSize, DEFAULT_PAGE } from '../../../api/validation.ts';
import { describeStorm } from '../../verdicts/storm-guard.ts';
import type { ApiContext, Caller } from '../context.ts';
import { checkHeadendFilter, shardsOf } from './filter.ts';

export async function listHeldVerdicts(
  context: ApiContext,
  _caller: Caller,
  request: ListHeldVerdictsRequest,
): Promise<ListHeldVerdictsResponse> {
  rejectIfInvalid([...checkHeadendFilter(request.headend), ...checkPageSize(request.limit, 'limit')]);
  const limit = request.limit || DEFAULT_PAGE;
  const response = create(ListHeldVerdictsResponseSchema);
  const now = context.clock.now();
  for (const { id, verdicts } of shardsOf(context, request.headend)) {
    response.total += verdicts.held.count;
    for (const { decision, sinceMs, reason } of verdicts.held.values()) {
      if (response.verdicts.length === limit) break;
      const encoded = decision.sa;
      if (!encoded) continue;
      const sa = fromBinary(SaSchema, encoded);
      response.verdicts.push(
        create(HeldVerdictSchema, {
          ...id,
          sa: sa.id!,
          peerId: sa.peerId,
          site: sa.site,
          heldMs: BigInt(Math.round(now - sinceMs)),
          reason: describeStorm(reason),
        }),
      );
    }
  }
  return response;
}
