/** ClearSas: an operator has the headend delete SAs, whether their peers live or not. */

import { create } from '@bufbuild/protobuf';
import {
  type ClearSasRequest,
  type ClearSasResponse,
  ClearSasResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { Action } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName } from '../../../api/validation.ts';
import type { ApiContext, Caller } from '../context.ts';

/** SAs of one request at most. */
const MOST_SAS = 1_000;
const ACTIONS: readonly Action[] = [Action.UNSPECIFIED, Action.CLEAR, Action.FAILOVER];

export async function clearSas(
  { cluster }: ApiContext,
  _caller: Caller,
  { headend, sas, action }: ClearSasRequest,
): Promise<ClearSasResponse> {
  rejectIfInvalid([
    ...checkHeadendName('headend', headend),
    ...(sas.length >= 1 && sas.length <= MOST_SAS
      ? []
      : [{ field: 'sas', description: `${sas.length} SAs, must be 1 to ${MOST_SAS}` }]),
    ...(ACTIONS.includes(action)
      ? []
      : [
          { field: 'action', description: `${action} is not CLEAR (${Action.CLEAR}) or FAILOVER (${Action.FAILOVER})` },
        ]),
  ]);
  let cleared = 0;
  for (const shard of cluster.shards.of(headend)) {
    const handles = sas.map((id) => shard.records.find(id)).filter((handle) => handle >= 0);
    if (handles.length > 0) cleared += await shard.clear([...new Set(handles)], action || Action.CLEAR);
  }
  return create(ClearSasResponseSchema, { cleared });
}
