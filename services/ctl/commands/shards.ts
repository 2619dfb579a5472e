/** `dpdctl shards`: who owns which shard, and how its peers are. */

import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import type { Column } from '../output/output.ts';
import { count, duration } from '../output/text.ts';
import { run, withWatch } from '../session.ts';

type ShardRow = {
  readonly headend: string;
  readonly shard: number;
  readonly node: string;
  readonly epoch: number;
  readonly leaseValid: boolean;
  /** undefined if the owner does not answer. */
  readonly counters: undefined | Readonly<Record<(typeof COUNTED)[number], number>>;
  readonly pathVouched: boolean | undefined;
};

const COUNTED = ['peers', 'alive', 'probing', 'blocked', 'unproven', 'held', 'dead', 'behindMs'] as const;

const COLUMNS: readonly Column<ShardRow>[] = [
  { title: 'HEADEND', width: 16, of: ({ headend }) => headend },
  { title: 'SHARD', width: 5, right: true, of: ({ shard }) => String(shard) },
  { title: 'NODE', width: 16, of: ({ node }) => node },
  { title: 'EPOCH', width: 6, right: true, of: ({ epoch }) => String(epoch) },
  {
    title: 'LEASE',
    width: 5,
    of: ({ leaseValid }) => (leaseValid ? 'valid' : 'over'),
    colour: ({ leaseValid }) => (leaseValid ? 'green' : 'red'),
  },
  {
    title: 'PATH',
    width: 6,
    of: ({ pathVouched }) => (pathVouched === undefined ? '-' : pathVouched ? 'proven' : 'unproven'),
    colour: ({ pathVouched }) => (pathVouched === false ? 'yellow' : undefined),
  },
  ...COUNTED.map(
    (name): Column<ShardRow> => ({
      title: name === 'behindMs' ? 'BEHIND' : name.toUpperCase(),
      width: 8,
      right: true,
      of: ({ counters }) => (counters ? (name === 'behindMs' ? duration(counters[name]) : count(counters[name])) : '-'),
    }),
  ),
];

export function addShards(program: Command): void {
  withWatch(
    program
      .command('shards')
      .description('who owns which shard')
      .option('-H, --headend <name>', 'only of this headend'),
  ).action(
    run(async ({ cluster, out }, { headend }: { headend?: string }) => {
      const state = await cluster.state();
      const nodes = (await cluster.nodes(state)).map((node) => ({ node }));
      const answers = await cluster.each(nodes, ({ node }) =>
        node.ask(OperatorService.method.getCounters, { headend: headend ?? '' }),
      );
      const counted = new Map(
        answers.flatMap(({ shards }) => shards.map((shard) => [`${shard.headend}/${shard.shard}`, shard])),
      );
      const rows = state.shards
        .filter((shard) => headend === undefined || shard.headend === headend)
        .map(({ headend: of, shard, node, epoch, leaseValid }): ShardRow => {
          const counters = counted.get(`${of}/${shard}`);
          return {
            headend: of,
            shard,
            node,
            epoch: Number(epoch),
            leaseValid,
            pathVouched: counters?.pathVouched,
            counters: counters && {
              peers: counters.peers,
              alive: counters.alive,
              probing: counters.probing,
              blocked: counters.blocked,
              unproven: counters.unproven,
              held: counters.held,
              dead: counters.dead,
              behindMs: counters.behindMs,
            },
          };
        });
      await out.table(COLUMNS, rows, 'no shard has an owner yet');
    }),
  );
}
