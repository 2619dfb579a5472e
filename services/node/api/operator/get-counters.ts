/** GetCounters: everything that is counted of the shards here. */

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type GetCountersRequest,
  type GetCountersResponse,
  GetCountersResponseSchema,
  ShardCountersSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { COUNTER_ROWS, type ShardCounts } from '../../../../workers/shard/counters.ts';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import type { ApiContext, Caller } from '../context.ts';
import { checkHeadendFilter, shardsOf } from './filter.ts';

export async function getCounters(
  context: ApiContext,
  _caller: Caller,
  request: GetCountersRequest,
): Promise<GetCountersResponse> {
  rejectIfInvalid(checkHeadendFilter(request.headend));
  const shards = await Promise.all(
    shardsOf(context, request.headend).map(async (shard) => {
      const counts = toFields(await shard.counts());
      return create(ShardCountersSchema, { ...counts, ...shard.id, epoch: BigInt(shard.epoch) });
    }),
  );
  return create(GetCountersResponseSchema, { shards });
}

/** Counts as the fields that the table gives them. */
function toFields(counts: ShardCounts): MessageInitShape<typeof ShardCountersSchema> {
  return Object.fromEntries(
    COUNTER_ROWS.map(([name, { kind }]) => {
      const value = counts[name];
      return [name, kind === 'counter' ? BigInt(value) : kind === 'flag' ? value === 1 : value];
    }),
  );
}
