/** GetPeer: the SAs of one peer on this node. */

import { create } from '@bufbuild/protobuf';
import {
  type GetPeerRequest,
  type GetPeerResponse,
  GetPeerResponseSchema,
  type Peer,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPeerId } from '../../../api/validation.ts';
import type { ApiContext, Caller } from '../context.ts';
import { describePeers } from './describe-peers.ts';
import { notHere } from './not-here.ts';

export async function getPeer(context: ApiContext, _caller: Caller, request: GetPeerRequest): Promise<GetPeerResponse> {
  rejectIfInvalid([...checkHeadendName('headend', request.headend), ...checkPeerId(request.peerId)]);
  const peers: Peer[] = [];
  for (const shard of context.cluster.shards.of(request.headend)) {
    const handles = shard.records.handlesOf(request.peerId);
    if (handles.length > 0) peers.push(...(await describePeers(shard, handles)));
  }
  if (peers.length === 0) throw await notHere(context, request.headend, request.peerId);
  return create(GetPeerResponseSchema, { peers });
}
