/** GetClusterState: nodes that live, and who owns which shard. */

import { create } from '@bufbuild/protobuf';
import {
  type GetClusterStateRequest,
  type GetClusterStateResponse,
  GetClusterStateResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import type { ApiContext, Caller } from '../context.ts';

export async function getClusterState(
  { cluster }: ApiContext,
  _caller: Caller,
  _request: GetClusterStateRequest,
): Promise<GetClusterStateResponse> {
  const node = cluster.id;
  try {
    const shards = (await cluster.knownShards()).flatMap(({ id, shards: count, lease }) =>
      lease ? [{ ...id, shards: count, node: lease.node, epoch: lease.epoch, leaseValid: lease.valid }] : [],
    );
    const members = [...cluster.membership.members];
    return create(GetClusterStateResponseSchema, { node, shards, redisConnected: true, members });
  } catch {
    // Redis is away: the shards of this node are still worth reporting.
    const shards = cluster.shards.hosted().map((hosted) => ({
      ...hosted.id,
      shards: hosted.shards,
      node,
      epoch: BigInt(hosted.epoch),
      leaseValid: false,
    }));
    return create(GetClusterStateResponseSchema, { node, shards, redisConnected: false });
  }
}
