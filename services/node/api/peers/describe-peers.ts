/** Peers as the API describes them. */

import { create } from '@bufbuild/protobuf';
import { type ListPeersRequest, type Peer, PeerSchema, PeerState } from '../../../../proto/gen/dpd/v1/operator_pb.js';
import type { Sa } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { State } from '../../../../workers/liveness/peers.ts';
import { NO_MID } from '../../../../workers/sa/ids.ts';
import type { HostedShard } from '../../shard/hosted-shard.ts';

/** The API's name of each state of the peer table. */
const API_STATES = {
  [State.FREE]: PeerState.UNSPECIFIED,
  [State.ALIVE]: PeerState.ALIVE,
  [State.PROBING]: PeerState.PROBING,
  [State.QUIET]: PeerState.QUIET,
  [State.BLOCKED]: PeerState.BLOCKED,
  [State.DEAD]: PeerState.DEAD,
  [State.UNWATCHED]: PeerState.UNWATCHED,
  [State.HELD]: PeerState.HELD,
  [State.UNPROVEN]: PeerState.UNPROVEN,
} as const satisfies Record<State, PeerState>;

/** Filters of ListPeers. */
type Filter = Pick<ListPeersRequest, 'states' | 'modes' | 'site' | 'address'>;
const ALL: Filter = { states: [], modes: [], site: '', address: '' };

/**
 * Describes the SAs at these handles, as far as the filter wants them; those gone meanwhile are left out. Rejects if the shard's
 * thread does not answer.
 */
export async function describePeers(
  shard: HostedShard,
  handles: readonly number[],
  filter: Filter = ALL,
): Promise<Peer[]> {
  const statuses = await shard.statuses(handles);
  return handles.flatMap((handle, n) => {
    const peer = statuses[n]!;
    if (peer.state === State.FREE) return [];
    if (filter.states.length > 0 && !filter.states.includes(API_STATES[peer.state])) return [];
    const sa = shard.records.get(handle);
    if (!sa || !wants(filter, sa)) return [];
    return create(PeerSchema, {
      ...shard.id,
      sa,
      state: API_STATES[peer.state],
      lastEvidenceAgeMs: BigInt(Math.max(0, Math.round(peer.lastEvidenceAgeMs))),
      probesSent: peer.probesSent,
      probesAnswered: peer.probesAnswered,
      nextMessageId: peer.nextMid === NO_MID ? 0 : peer.nextMid,
      hasKeys: peer.keyed,
      proven: peer.proven,
      blockedReason: peer.blockedReason,
      ...(peer.roundTrip.smoothedMs > 0 && {
        roundTrip: {
          smoothedUs: Math.round(peer.roundTrip.smoothedMs * 1_000),
          variationUs: Math.round(peer.roundTrip.variationMs * 1_000),
        },
      }),
      recentProbes: peer.roundTrip.probes,
      recentLost: peer.roundTrip.lost,
    });
  });
}

/** Whether a filter wants this SA, its state aside. */
function wants({ modes, site, address }: Filter, sa: Sa): boolean {
  if (modes.length > 0 && !modes.includes(sa.policy!.mode)) return false;
  if (site !== '' && sa.site !== site) return false;
  return address === '' || sa.endpoints[sa.activeEndpoint]!.address === address;
}
