/** What operators ask of a node. Answers carry no keys: records hold none. */

import { create, fromBinary } from '@bufbuild/protobuf';
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
  HeldVerdictSchema,
  HoldDecision,
  type ListHeldVerdictsRequest,
  type ListHeldVerdictsResponse,
  ListHeldVerdictsResponseSchema,
  type ListPeersRequest,
  type ListPeersResponse,
  ListPeersResponseSchema,
  type Peer,
  PeerSchema,
  type SetDrainingRequest,
  type SetDrainingResponse,
  SetDrainingResponseSchema,
  type SettleHeldVerdictsRequest,
  type SettleHeldVerdictsResponse,
  SettleHeldVerdictsResponseSchema,
  ShardCountersSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { State } from '../../../../workers/liveness/peers.ts';
import { NO_MID } from '../../../../workers/shard/protocol.ts';
import { ApiError, rejectIfInvalid, type Violation } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPageSize, checkPeerId } from '../../../api/validation.ts';
import { systemClock } from '../../../base/clock.ts';
import { readShards } from '../../../store/cluster/directory.ts';
import type { ConcentratorNode } from '../../node.ts';
import type { ShardHost } from '../../shard/hosted-shard.ts';
import { describe as describeStorm } from '../../verdicts/verdict-desk.ts';

const DEFAULT_PAGE = 100;
const PAGE_TOKEN = /^(\d{1,3})\.(\d{1,9})$/;

export async function getPeer(node: ConcentratorNode, request: GetPeerRequest): Promise<GetPeerResponse> {
  rejectIfInvalid([...checkHeadendName('headend', request.headend), ...checkPeerId(request.peerId)]);
  const name = Buffer.from(request.peerId);
  const peers: Peer[] = [];
  for (const host of node.concentrator.shards.of(request.headend)) {
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
  for (const host of node.concentrator.shards.of(request.headend)) {
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

/** Counters that are 32 bits wide on the API. */
const GAUGES: ReadonlySet<string> = new Set(['peers', 'behindMs']);

export async function getCounters(node: ConcentratorNode, request: GetCountersRequest): Promise<GetCountersResponse> {
  rejectIfInvalid(checkHeadendFilter(request.headend));
  const hosts = hostsFor(node, request.headend);
  const shards = await Promise.all(
    hosts.map(async (host) => {
      const { states, ...counters } = await host.counters();
      const { held, waiting } = host.verdicts;
      const wide = Object.fromEntries(
        Object.entries(counters).map(([name, value]) => [
          name,
          typeof value === 'number' && !GAUGES.has(name) ? BigInt(value) : value,
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
        held: states[State.HELD]!,
        verdictsHeld: BigInt(held.counters.held),
        holdsCancelled: BigInt(held.counters.cancelled),
        holdsReleased: BigInt(held.counters.released),
        holdsDropped: BigInt(held.counters.dropped),
        verdictsWaiting: waiting,
        ...wide,
      });
    }),
  );
  return create(GetCountersResponseSchema, { shards });
}

export async function getClusterState(node: ConcentratorNode): Promise<GetClusterStateResponse> {
  try {
    const shards = (await readShards(node.redis)).flatMap(({ id, shards: count, lease }) =>
      lease ? [{ ...id, shards: count, node: lease.node, epoch: lease.epoch, leaseValid: lease.valid }] : [],
    );
    const members = [...node.concentrator.membership.members];
    return create(GetClusterStateResponseSchema, { node: node.id, shards, redisConnected: true, members });
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

/** The node gives its shards away and takes none, or takes some again. */
export async function setDraining(node: ConcentratorNode, request: SetDrainingRequest): Promise<SetDrainingResponse> {
  const shards = await node.concentrator.setDraining(request.draining, node.settings.drain);
  return create(SetDrainingResponseSchema, { shards });
}

export async function listHeldVerdicts(
  node: ConcentratorNode,
  request: ListHeldVerdictsRequest,
): Promise<ListHeldVerdictsResponse> {
  rejectIfInvalid([...checkHeadendFilter(request.headend), ...checkPageSize(request.limit, 'limit')]);
  const hosts = hostsFor(node, request.headend);
  const limit = request.limit || DEFAULT_PAGE;
  const response = create(ListHeldVerdictsResponseSchema);
  const now = systemClock.now();
  for (const host of hosts) {
    response.total += host.verdicts.held.count;
    for (const { decision, sinceMs, reason } of host.verdicts.held.values()) {
      if (response.verdicts.length === limit) break;
      const encoded = decision.sa;
      if (!encoded) continue;
      const sa = fromBinary(SaSchema, encoded);
      response.verdicts.push(
        create(HeldVerdictSchema, {
          ...host.id,
          sa: sa.id!,
          peerId: sa.peerId,
          site: sa.site,
          heldMs: BigInt(Math.round(now - sinceMs)),
          reason: describeStorm(reason),
        }),
      );
    }
  }
  return response;
}

export async function settleHeldVerdicts(
  node: ConcentratorNode,
  request: SettleHeldVerdictsRequest,
): Promise<SettleHeldVerdictsResponse> {
  const decision =
    request.decision === HoldDecision.RELEASE ? 'release' : request.decision === HoldDecision.DROP ? 'drop' : undefined;
  rejectIfInvalid([
    ...checkHeadendFilter(request.headend),
    ...(decision ? [] : [{ field: 'decision', description: `${request.decision} is not RELEASE (1) or DROP (2)` }]),
  ]);
  const verdicts = hostsFor(node, request.headend).reduce((sum, host) => sum + host.verdicts.held.decide(decision!), 0);
  return create(SettleHeldVerdictsResponseSchema, { verdicts });
}

function hostsFor(node: ConcentratorNode, headend: string): ShardHost[] {
  return headend === '' ? node.hosts() : node.concentrator.shards.of(headend);
}

function checkHeadendFilter(headend: string): Violation[] {
  return headend === '' ? [] : checkHeadendName('headend', headend);
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
