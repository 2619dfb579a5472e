/** `dpdctl nodes`: the nodes, their load and how late they are. */

import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import type { Column } from '../output/output.ts';
import { count, duration } from '../output/text.ts';
import { run, withWatch } from '../session.ts';

type NodeRow = {
  readonly node: string;
  readonly address: string;
  readonly state: string;
  readonly shards: number;
  readonly peers: number;
  /** How late probes are for want of budget, ms; undefined if the node does not answer. */
  readonly behindMs: number | undefined;
  readonly verdictsWaiting: number | undefined;
  readonly verdictsHeld: number | undefined;
};

const COLUMNS: readonly Column<NodeRow>[] = [
  { title: 'NODE', width: 16, of: ({ node }) => node },
  { title: 'ADDRESS', width: 24, of: ({ address }) => address },
  {
    title: 'STATE',
    width: 11,
    of: ({ state }) => state,
    colour: ({ state }) => (state === 'READY' ? 'green' : state === 'DRAINING' ? 'yellow' : 'red'),
  },
  { title: 'SHARDS', width: 6, right: true, of: ({ shards }) => count(shards) },
  { title: 'PEERS', width: 9, right: true, of: ({ peers }) => count(peers) },
  { title: 'BEHIND', width: 8, right: true, of: ({ behindMs }) => (behindMs === undefined ? '-' : duration(behindMs)) },
  { title: 'WAITING', width: 7, right: true, of: ({ verdictsWaiting }) => String(verdictsWaiting ?? '-') },
  { title: 'HELD', width: 6, right: true, of: ({ verdictsHeld }) => String(verdictsHeld ?? '-') },
];

export function addNodes(program: Command): void {
  withWatch(program.command('nodes').description('nodes, their load and how late they are')).action(
    run(async ({ cluster, out }) => {
      const state = await cluster.state();
      const nodes = (await cluster.nodes(state)).map((node) => ({ node }));
      const counted = new Map(
        await cluster.each(nodes, async ({ node }) => {
          const { shards } = await node.ask(OperatorService.method.getCounters, {});
          return [node.id, shards] as const;
        }),
      );
      const rows = state.members.map(({ id, address, draining, shards, peers }): NodeRow => {
        const counters = counted.get(id);
        return {
          node: id,
          address,
          state: counters === undefined ? 'UNREACHABLE' : draining ? 'DRAINING' : 'READY',
          shards,
          peers,
          behindMs: counters && Math.max(0, ...counters.map(({ behindMs }) => behindMs)),
          verdictsWaiting: counters?.reduce((sum, { verdictsWaiting }) => sum + verdictsWaiting, 0),
          verdictsHeld: counters?.reduce((sum, { verdictsHeldNow }) => sum + verdictsHeldNow, 0),
        };
      });
      await out.table(COLUMNS, rows, 'no node is known: Redis does not answer');
    }),
  );
}
