/** A peer that this node does not host: who may. */

import { status } from '@grpc/grpc-js';
import { ApiError } from '../../../api/grpc/errors.ts';
import type { ApiContext } from '../context.ts';

/** Nodes named, at most. */
const MOST_NAMED = 8;

/** NOT_FOUND, which names the other nodes that host shards of the headend. */
export async function notHere({ cluster }: ApiContext, headend: string, peerId: string): Promise<ApiError> {
  const message = `peer "${peerId}" of headend "${headend}" is not on this node`;
  try {
    const leases = (await cluster.knownShards())
      .filter(({ id }) => id.headend === headend)
      .flatMap(({ lease }) => lease ?? []);
    const nodes = new Set(leases.filter(({ node, valid }) => valid && node !== cluster.id).map(({ node }) => node));
    const others = cluster.membership.members.filter(({ id }) => nodes.has(id)).slice(0, MOST_NAMED);
    if (others.length === 0) return new ApiError(status.NOT_FOUND, message);
    const named = others.map(({ id, address }) => `${id} at ${address}`).join(', ');
    return new ApiError(status.NOT_FOUND, `${message}; other shards of this headend are on ${named}`);
  } catch {
    // Redis is away.
    return new ApiError(status.NOT_FOUND, message);
  }
}
