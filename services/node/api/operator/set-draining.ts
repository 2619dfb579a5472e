/** SetDraining: the node gives its shards away and takes none, or takes some again. */

import { create } from '@bufbuild/protobuf';
import {
  type SetDrainingRequest,
  type SetDrainingResponse,
  SetDrainingResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import type { ApiContext, Caller } from '../context.ts';

export async function setDraining(
  { cluster, drainMs }: ApiContext,
  _caller: Caller,
  { draining }: SetDrainingRequest,
): Promise<SetDrainingResponse> {
  return create(SetDrainingResponseSchema, { shards: await cluster.setDraining(draining, drainMs) });
}
