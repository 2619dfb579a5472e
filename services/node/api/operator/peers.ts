/** Peers as the API describes them. */

import { create } from '@bufbuild/protobuf';
import { type Peer, PeerSchema, PeerState } from '../../../../proto/gen/dpd/v1/operator_pb.js';
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

/** Describes the SAs at these handles; those gone meanwhile are left out. Rejects if the shard's thread does not answer. */
export async function describePeers(shard: HostedShard, handles: readonly number[]): Promise<Peer[]> {
  const statuses = await shard.statuses(handles);
  return handles.flatMap((handle, n) => {
    const sa = shard.records.get(handle);
    const peer = statuses[n]!;
    if (!sa || peer.state === State.FREE) return [];
    return create(PeerSchema, {
      ...shard.id,
      sa,
      state: API_STATES[peer.state],
      lastEvidenceAgeMs: BigInt(Math.max(0, Math.round(peer.lastEvidenceAgeMs))),
      probesSent: peer.probesSent,
      probesAnswered: peer.probesAnswered,
      nextMessageId: peer.nextMid === NO_MID ? 0 : peer.nextMid,
      hasKeys: peer.keyed,
    });
  });
}
