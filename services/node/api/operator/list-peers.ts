/** ListPeers: a headend's peers on this node, page by page, in order of shard and handle. */

import { create } from '@bufbuild/protobuf';
import {
  type ListPeersRequest,
  type ListPeersResponse,
  ListPeersResponseSchema,
  type Peer,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPageSize, DEFAULT_PAGE } from '../../../api/validation.ts';
import type { ApiContext, Caller } from '../context.ts';
import { describePeers } from './peers.ts';

/** Shard and handle that a page begins with. */
const PAGE_TOKEN = /^(\d{1,3})\.(\d{1,9})$/;

export async function listPeers(
  { cluster }: ApiContext,
  _caller: Caller,
  request: ListPeersRequest,
): Promise<ListPeersResponse> {
  const token = request.pageToken === '' ? ['', '0', '0'] : PAGE_TOKEN.exec(request.pageToken);
  rejectIfInvalid([
    ...checkHeadendName('headend', request.headend),
    ...checkPageSize(request.pageSize),
    ...(token ? [] : [{ field: 'page_token', description: `"${request.pageToken.slice(0, 80)}" is not a token` }]),
  ]);
  const size = request.pageSize || DEFAULT_PAGE;
  const [fromShard, fromHandle] = [Number(token![1]), Number(token![2])];
  const peers: Peer[] = [];
  for (const hosted of cluster.shards.of(request.headend)) {
    const { shard } = hosted.id;
    if (shard < fromShard) continue;
    const page: number[] = [];
    for (const handle of hosted.records.handles(shard === fromShard ? fromHandle : 0)) {
      if (peers.length + page.length === size) {
        peers.push(...(await describePeers(hosted, page)));
        return create(ListPeersResponseSchema, { peers, nextPageToken: `${shard}.${handle}` });
      }
      page.push(handle);
    }
    peers.push(...(await describePeers(hosted, page)));
  }
  return create(ListPeersResponseSchema, { peers });
}
