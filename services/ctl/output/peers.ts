/** A peer as `dpdctl` shows it. */

import { type Peer, PeerState } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode, type Policy } from '../../../proto/gen/dpd/v1/types_pb.js';
import { detectionMs, waitsOf } from '../../../workers/liveness/schedule.ts';
import { spiHex } from '../../api/spi.ts';
import type { Column } from './output.ts';
import { type Colour, duration } from './text.ts';

/** The stable form, one JSON object a line. */
export type PeerRow = {
  readonly headend: string;
  readonly shard: number;
  readonly node: string;
  readonly peer: string;
  /** SPI pair in hex. */
  readonly sa: string;
  readonly state: string;
  /** Address of the active endpoint. */
  readonly address: string;
  readonly site: string;
  readonly mode: string;
  readonly lastEvidenceAgeMs: number;
  readonly proven: boolean;
  readonly probesSent: number;
  readonly probesAnswered: number;
  readonly roundTripMs: number | undefined;
  readonly roundTripVariationMs: number | undefined;
  readonly recentProbes: number;
  readonly recentLost: number;
  readonly blockedReason: string | undefined;
};

export function peerRow(node: string, peer: Peer): PeerRow {
  const sa = peer.sa!;
  const trip = peer.roundTrip;
  return {
    headend: peer.headend,
    shard: peer.shard,
    node,
    peer: sa.peerId,
    sa: spiHex(sa.id!),
    state: PeerState[peer.state] ?? String(peer.state),
    address: sa.endpoints[sa.activeEndpoint]?.address ?? '',
    site: sa.site,
    mode: modeName(sa.policy!),
    lastEvidenceAgeMs: Number(peer.lastEvidenceAgeMs),
    proven: peer.proven,
    probesSent: peer.probesSent,
    probesAnswered: peer.probesAnswered,
    roundTripMs: trip && trip.smoothedUs / 1_000,
    roundTripVariationMs: trip && trip.variationUs / 1_000,
    recentProbes: peer.recentProbes,
    recentLost: peer.recentLost,
    blockedReason: peer.blockedReason || undefined,
  };
}

/** Share of the recent probes that were lost, 0 to 1. */
export function lossOf({ recentProbes, recentLost }: PeerRow): number {
  return recentProbes === 0 ? 0 : recentLost / recentProbes;
}

export function lossText(row: PeerRow): string {
  return row.recentProbes === 0 ? '-' : `${Math.round(lossOf(row) * 100)} %`;
}

export function tripText({ roundTripMs, roundTripVariationMs }: PeerRow): string {
  return roundTripMs === undefined ? '-' : `${roundTripMs.toFixed(1)} ± ${roundTripVariationMs!.toFixed(1)} ms`;
}

const COLOURS: Readonly<Record<string, Colour>> = {
  ALIVE: 'green',
  PROBING: 'yellow',
  BLOCKED: 'yellow',
  UNPROVEN: 'yellow',
  HELD: 'yellow',
  DEAD: 'red',
  UNWATCHED: 'grey',
};

export function stateColour({ state }: { readonly state: string }): Colour | undefined {
  return COLOURS[state];
}

export const PEER_COLUMNS: readonly Column<PeerRow>[] = [
  { title: 'HEADEND', width: 16, of: ({ headend }) => headend },
  { title: 'PEER', width: 28, of: ({ peer }) => peer },
  { title: 'STATE', width: 9, of: ({ state }) => state, colour: stateColour },
  { title: 'ADDRESS', width: 15, of: ({ address }) => address },
  { title: 'HEARD', width: 11, right: true, of: ({ lastEvidenceAgeMs }) => duration(lastEvidenceAgeMs) },
  { title: 'ROUND TRIP', width: 16, right: true, of: tripText },
  { title: 'LOSS', width: 5, right: true, of: lossText },
  { title: 'MODE', width: 9, of: ({ mode }) => mode },
  { title: 'SITE', width: 12, of: ({ site }) => site },
  { title: 'NODE', width: 0, of: ({ node }) => node },
];

export function modeName({ mode }: Policy): string {
  return Mode[mode] ?? String(mode);
}

/** A policy on one line. */
export function describePolicy(policy: Policy): string {
  const { intervalMs, jitterPercent, action, unprovenMs } = policy;
  const { waits } = waitsOf(policy);
  const dead = detectionMs(policy);
  const unproven = unprovenMs > 0 ? `; judged unproven after ${duration(unprovenMs)}` : '';
  return (
    `${modeName(policy)}, every ${duration(intervalMs)} then ${describeWaits([...waits.subarray(1)])} (dead after ${duration(dead)}), ` +
    `jitter ${jitterPercent} %, ${Action[action || Action.FAILOVER]}${unproven}`
  );
}

/** The waits after each probe of a suspicion, ms: `5 x 2 s`, or all of them if they differ. */
function describeWaits(waits: readonly number[]): string {
  const [first] = waits;
  if (first === undefined) return 'none';
  return waits.every((ms) => ms === first) ? `${waits.length} x ${duration(first)}` : waits.map(duration).join(', ');
}
