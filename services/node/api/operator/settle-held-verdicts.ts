/** SettleHeldVerdicts: an operator gives all verdicts held now, or drops them. */

import { create } from '@bufbuild/protobuf';
import {
  HoldDecision,
  type SettleHeldVerdictsRequest,
  type SettleHeldVerdictsResponse,
  SettleHeldVerdictsResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import type { ApiContext, Caller } from '../context.ts';
import { checkHeadendFilter, shardsOf } from './filter.ts';

const DECISIONS = new Map([
  [HoldDecision.RELEASE, 'release'],
  [HoldDecision.DROP, 'drop'],
] as const);

export async function settleHeldVerdicts(
  context: ApiContext,
  _caller: Caller,
  request: SettleHeldVerdictsRequest,
): Promise<SettleHeldVerdictsResponse> {
  const decision = DECISIONS.get(request.decision as HoldDecision.RELEASE | HoldDecision.DROP);
  rejectIfInvalid([
    ...checkHeadendFilter(request.headend),
    ...(decision ? [] : [{ field: 'decision', description: `${request.decision} is not RELEASE (1) or DROP (2)` }]),
  ]);
  const verdicts = shardsOf(context, request.headend).reduce(
    (sum, shard) => sum + shard.verdicts.held.decide(decision!),
    0,
  );
  return create(SettleHeldVerdictsResponseSchema, { verdicts });
}
