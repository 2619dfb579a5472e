/** ListPeers: a headend's peers on this node, page by page, in order of shard and handle. */

import { create } from '@bufbuild/protobuf';
import {
  type ListPeersRequest,
  type ListPeersResponse,
  ListPeersResponseSchema,
  type Peer,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { rejectIfInvalid, type Violation } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPageSize, DEFAULT_PAGE } from '../../../api/validation.ts';
import type { HostedShard } from '../../shard/hosted-shard.ts';
import type { ApiContext, Caller } from '../context.ts';
import { describePeers } from './describe-peers.ts';

/** Shard and handle that a page begins with. */
const PAGE_TOKEN = /^(\d{1,3})\.(\d{1,9})$/;
/** Peers looked at for one page, at most: filters may leave few of them. */
const MOST_LOOKED = 10_000;
/** Values of one filter, and bytes of a text, at most. */
const MOST_VALUES = 16;
const MOST_TEXT = 64;

export async function listPeers(
  { cluster }: ApiContext,
  _caller: Caller,
  request: ListPeersRequest,
): Promise<ListPeersResponse> {
  const token = request.pageToken === '' ? ['', '0', '0'] : PAGE_TOKEN.exec(request.pageToken);
  rejectIfInvalid([
    ...checkHeadendName('headend', request.headend),
    ...checkPageSize(request.pageSize),
    ...checkFilters(request),
    ...(token ? [] : [{ field: 'page_token', description: `"${request.pageToken.slice(0, 80)}" is not a token` }]),
  ]);
  const size = request.pageSize || DEFAULT_PAGE;
  const peers: Peer[] = [];
  const rest = handlesFrom(cluster.shards.of(request.headend), Number(token![1]), Number(token![2]));
  let looked = 0;
  for (let next = rest.next(); !next.done; ) {
    const { hosted, handle } = next.value;
    const room = Math.min(size - peers.length, MOST_LOOKED - looked);
    if (room === 0) return create(ListPeersResponseSchema, { peers, nextPageToken: `${hosted.id.shard}.${handle}` });
    const page: number[] = [];
    for (; !next.done && next.value.hosted === hosted && page.length < room; next = rest.next())
      page.push(next.value.handle);
    looked += page.length;
    peers.push(...(await describePeers(hosted, page, request)));
  }
  return create(ListPeersResponseSchema, { peers });
}

/** Every SA of these shards, from a handle of a shard on. */
function* handlesFrom(shards: readonly HostedShard[], fromShard: number, fromHandle: number) {
  for (const hosted of shards) {
    const { shard } = hosted.id;
    if (shard < fromShard) continue;
    for (const handle of hosted.records.handles(shard === fromShard ? fromHandle : 0)) yield { hosted, handle };
  }
}

function checkFilters({ states, modes, site, address }: ListPeersRequest): Violation[] {
  const lists = Object.entries({ states, modes }).filter(([, list]) => list.length > MOST_VALUES);
  const texts = Object.entries({ site, address }).filter(([, text]) => Buffer.byteLength(text) > MOST_TEXT);
  return [
    ...lists.map(([field, list]) => ({ field, description: `${list.length} values, at most ${MOST_VALUES}` })),
    ...texts.map(([field, text]) => ({ field, description: `${Buffer.byteLength(text)} bytes, at most ${MOST_TEXT}` })),
  ];
}
