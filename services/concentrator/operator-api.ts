/** What operators ask of a node. Answers carry no keys: records hold none. */

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import {
  type GetClusterStateResponse,
  GetClusterStateResponseSchema,
  type GetCountersRequest,
  type GetCountersResponse,
  GetCountersResponseSchema,
  type GetPeerRequest,
  type GetPeerResponse,
  GetPeerResponseSchema,
  type ListPeersRequest,
  type ListPeersResponse,
  ListPeersResponseSchema,
  type Peer,
  PeerSchema,
  ShardCountersSchema,
} from '../../proto/gen/dpd/v1/operator_pb.js';
import { State } from '../../workers/liveness/peers.ts';
import { NO_MID } from '../../workers/protocol.ts';
import { ApiError, rejectIfInvalid } from '../grpc/errors.ts';
import { readLease } from '../store/shard-store.ts';
import type { ConcentratorNode } from './node.ts';
import type { ShardHost } from './shard-host.ts';
import { checkHeadendName, checkPageSize, checkPeerId } from './validate.ts';

const DEFAULT_PAGE = 100;
const PAGE_TOKEN = /^(\d{1,3})\.(\d{1,9})$/;

export async function getPeer(node: ConcentratorNode, request: GetPeerRequest): Promise<GetPeerResponse> {
  rejectIfInvalid([...checkHeadendName('headend', request.headend), ...checkPeerId(request.peerId)]);
  const name = Buffer.from(request.peerId);
  const peers: Peer[] = [];
  for (const host of node.hostsOf(request.headend)) {
    const handles = [...host.records.containing(name)].filter(
      (handle) => host.records.get(handle)!.peerId === request.peerId,
    );
    if (handles.length > 0) peers.push(...(await describe(host, handles)));
  }
  if (peers.length === 0)
    throw new ApiError(
      status.NOT_FOUND,
      `peer "${request.peerId}" of headend "${request.headend}" is not on this node`,
    );
  return create(GetPeerResponseSchema, { peers });
}

export async function listPeers(node: ConcentratorNode, request: ListPeersRequest): Promise<ListPeersResponse> {
  const token = request.pageToken === '' ? ['', '0', '0'] : PAGE_TOKEN.exec(request.pageToken);
  rejectIfInvalid([
    ...checkHeadendName('headend', request.headend),
    ...checkPageSize(request.pageSize),
    ...(token ? [] : [{ field: 'page_token', description: `"${request.pageToken.slice(0, 80)}" is not a token` }]),
  ]);
  const size = request.pageSize || DEFAULT_PAGE;
  const [fromShard, fromHandle] = [Number(token![1]), Number(token![2])];
  const peers: Peer[] = [];
  for (const host of node.hostsOf(request.headend)) {
    const { shard } = host.id;
    if (shard < fromShard) continue;
    const page: number[] = [];
    for (const handle of host.records.handles(shard === fromShard ? fromHandle : 0)) {
      if (peers.length + page.length === size) {
        peers.push(...(await describe(host, page)));
        return create(ListPeersResponseSchema, { peers, nextPageToken: `${shard}.${handle}` });
      }
      page.push(handle);
    }
    peers.push(...(await describe(host, page)));
  }
  return create(ListPeersResponseSchema, { peers });
}

export async function getCounters(node: ConcentratorNode, request: GetCountersRequest): Promise<GetCountersResponse> {
  if (request.headend !== '') rejectIfInvalid(checkHeadendName('headend', request.headend));
  const hosts = request.headend === '' ? node.hosts() : node.hostsOf(request.headend);
  const shards = await Promise.all(
    hosts.map(async (host) => {
      const { states, ...counters } = await host.counters();
      const wide = Object.fromEntries(
        Object.entries(counters).map(([name, value]) => [
          name,
          typeof value === 'number' && name !== 'peers' ? BigInt(value) : value,
        ]),
      );
      return create(ShardCountersSchema, {
        ...host.id,
        epoch: BigInt(host.epoch),
        alive: states[State.ALIVE]!,
        probing: states[State.PROBING]!,
        quiet: states[State.QUIET]!,
        blocked: states[State.BLOCKED]!,
        dead: states[State.DEAD]!,
        unwatched: states[State.UNWATCHED]!,
        ...wide,
      });
    }),
  );
  return create(GetCountersResponseSchema, { shards });
}

export async function getClusterState(node: ConcentratorNode): Promise<GetClusterStateResponse> {
  try {
    const shards = [];
    for (const [headend, count] of await node.headends())
      for (let shard = 0; shard < count; shard++) {
        const lease = await readLease(node.redis, { headend, shard });
        if (lease)
          shards.push({ headend, shard, shards: count, node: lease.node, epoch: lease.epoch, leaseValid: lease.valid });
      }
    return create(GetClusterStateResponseSchema, { node: node.id, shards, redisConnected: true });
  } catch {
    // Redis is away: what this node hosts is still worth telling.
    const shards = node.hosts().map((host) => ({
      ...host.id,
      shards: host.shards,
      node: node.id,
      epoch: BigInt(host.epoch),
      leaseValid: false,
    }));
    return create(GetClusterStateResponseSchema, { node: node.id, shards, redisConnected: false });
  }
}

async function describe(host: ShardHost, handles: readonly number[]): Promise<Peer[]> {
  const statuses = await host.statuses(handles);
  return handles.flatMap((handle, n) => {
    const sa = host.records.get(handle);
    const peer = statuses[n]!;
    if (!sa || peer.state === State.FREE) return [];
    return create(PeerSchema, {
      ...host.id,
      sa,
      // The numbers of PeerState are those of the table's State.
      state: peer.state,
      lastEvidenceAgeMs: BigInt(Math.max(0, Math.round(peer.lastEvidenceAgeMs))),
      probesSent: peer.probesSent,
      probesAnswered: peer.probesAnswered,
      nextMessageId: peer.nextMid === NO_MID ? 0 : peer.nextMid,
      hasKeys: peer.keyed,
    });
  });
}
