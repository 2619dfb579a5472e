/** AcknowledgeVerdict: what a data-plane node did about a verdict. */

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import {
  type AcknowledgeVerdictRequest,
  type AcknowledgeVerdictResponse,
  AcknowledgeVerdictResponseSchema,
} from '../../../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiError, rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkAck, checkHeadendName, checkShard } from '../../../api/validation.ts';
import type { ApiContext, Caller } from '../context.ts';

export async function acknowledgeVerdict(
  { cluster }: ApiContext,
  _caller: Caller,
  { headend, shard, ack }: AcknowledgeVerdictRequest,
): Promise<AcknowledgeVerdictResponse> {
  rejectIfInvalid([
    ...checkHeadendName('headend', headend),
    ...checkShard(shard),
    ...checkAck(ack).map(({ field, description }) => ({ field: `ack.${field}`, description })),
  ]);
  let known: boolean | undefined;
  try {
    [known] = await cluster.acknowledge({ headend, shard }, [ack!]);
  } catch (error) {
    throw new ApiError(status.UNAVAILABLE, `not stored: ${(error as Error).name}`);
  }
  if (!known) throw new ApiError(status.NOT_FOUND, `verdict ${ack!.verdictId} is not awaiting an acknowledgement`);
  return create(AcknowledgeVerdictResponseSchema);
}
