/** `dpdctl peer ID`: everything about one peer: how it is, why, and what happened to it. */

import type { Command } from 'commander';
import {
  type GetPeerHistoryResponse,
  OperatorService,
  type Peer,
  type PeerEvent,
  PeerEventKind,
} from '../../../proto/gen/dpd/v1/operator_pb.js';
import { spiHex } from '../../api/spi.ts';
import type { Cluster, Node } from '../cluster.ts';
import { CtlError, Exit } from '../exit.ts';
import type { Output } from '../output/output.ts';
import { describePolicy, lossText, type PeerRow, peerRow, stateColour, tripText } from '../output/peers.ts';
import { count, duration, moment } from '../output/text.ts';
import { run, withWatch } from '../session.ts';

/** A peer on a node. */
export type FoundPeer = { readonly node: Node; readonly peer: Peer };

export function addPeer(program: Command): void {
  withWatch(
    program
      .command('peer')
      .description('everything about one peer')
      .argument('<id>', 'its IKE identity, as the headend names it')
      .option('-H, --headend <name>', 'only of this headend'),
  ).action(
    run(async ({ cluster, out }, { headend = '' }: { headend?: string }, [id]) => {
      const found = await findPeer(cluster, headend, id!);
      const history = await historyOf(cluster, headend, id!);
      if (found.length === 0 && history.length === 0)
        throw new CtlError(Exit.NOT_FOUND, `peer "${id}": no node has it, and nothing is known of it; see left-out`);
      if (out.json) {
        for (const { node, peer } of found) await out.object({ type: 'sa', ...peerRow(node.id, peer), ...more(peer) });
        for (const { of, event } of history) await out.object({ type: 'event', headend: of, ...eventRow(event) });
        return;
      }
      if (found.length === 0) await out.line(`${id}: no SA is watched now`, 'red');
      for (const { node, peer } of found) await show(out, node, peer);
      await out.line(history.length === 0 ? 'history: nothing for long' : 'history:');
      for (const { event } of history) {
        const { at, kind, detail } = eventRow(event);
        await out.line(`  ${at}  ${kind.padEnd(10)}  ${detail}`, kind === 'DEAD' ? 'red' : undefined);
      }
    }),
  );
}

/** SAs of a peer on all nodes that may have them. */
export async function findPeer(cluster: Cluster, headend: string, peerId: string): Promise<FoundPeer[]> {
  const hosting = await cluster.hosting(headend);
  const asked = hosting.flatMap(({ node, headends }) => headends.map((of) => ({ node, of })));
  const answers = await cluster.each(asked, async ({ node, of }) => {
    try {
      const { peers } = await node.ask(OperatorService.method.getPeer, { headend: of, peerId });
      return peers.map((peer) => ({ node, peer }));
    } catch (error) {
      if (error instanceof CtlError && error.exit === Exit.NOT_FOUND) return [];
      throw error;
    }
  });
  return answers.flat();
}

async function historyOf(
  cluster: Cluster,
  headend: string,
  peerId: string,
): Promise<{ of: string; event: PeerEvent }[]> {
  const [node] = await cluster.nodes();
  const headends = headend === '' ? await cluster.headends() : [headend];
  const histories = await Promise.all(
    headends.map(async (of) => {
      const history: GetPeerHistoryResponse = await node!.ask(OperatorService.method.getPeerHistory, {
        headend: of,
        peerId,
      });
      return history.events.map((event) => ({ of, event }));
    }),
  );
  return histories.flat().sort((a, b) => Number(a.event.atUnixMs - b.event.atUnixMs));
}

/** An event as `dpdctl` shows it. */
export function eventRow({ atUnixMs, kind, sa, shard, detail, verdictId }: PeerEvent) {
  return {
    at: moment(atUnixMs),
    kind: PeerEventKind[kind] ?? String(kind),
    sa: sa && spiHex(sa),
    shard,
    detail,
    verdict: verdictId || undefined,
  };
}

/** What a list of peers has no room for. */
function more({ sa, nextMessageId, hasKeys }: Peer) {
  const { endpoints, activeEndpoint, policy, parked, localAddress } = sa!;
  return {
    endpoints: endpoints.map(({ address, port, connection }) => ({ address, port: port || 4500, connection })),
    activeEndpoint,
    localAddress,
    parked,
    nextMessageId,
    hasKeys,
    policy: describePolicy(policy!),
  };
}

async function show(out: Output, node: Node, peer: Peer): Promise<void> {
  const row = peerRow(node.id, peer);
  await out.line(`${row.peer}: ${row.state}${explain(row)}`, stateColour(row));
  const { endpoints, activeEndpoint, policy, parked, hasKeys, nextMessageId } = more(peer);
  const facts: readonly (readonly [string, string])[] = [
    ['headend', `${row.headend}, shard ${row.shard}, on node ${row.node}`],
    [
      'SA',
      `${row.sa}${hasKeys ? '' : ', no keys: the headend probes'}${parked ? ', parked' : ''}; next message id ${nextMessageId}`,
    ],
    ['last heard', `${duration(row.lastEvidenceAgeMs)} ago`],
    ['round trip', tripText(row)],
    ['loss', `${lossText(row)} (${row.recentLost} of the last ${row.recentProbes} probes)`],
    ['probes', `${count(row.probesSent)} sent, ${count(row.probesAnswered)} answered on this node`],
    ['policy', policy],
    ['site', row.site || '-'],
    ...endpoints.map(({ address, port, connection }, n) => {
      const active = n === activeEndpoint ? ', active' : '';
      return [`endpoint ${n}`, `${address}:${port}${connection && ` (${connection})`}${active}`] as const;
    }),
  ];
  for (const [name, value] of facts) await out.line(`  ${name.padEnd(11)} ${value}`);
}

function explain({ blockedReason, proven }: PeerRow): string {
  if (blockedReason) return ` (${blockedReason})`;
  return proven ? '' : ' (it has never answered a probe: its silence would not count)';
}
