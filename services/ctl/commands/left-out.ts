/** `dpdctl left-out`: SAs that headends have and the cluster does not watch, and why. */

import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { spiHex } from '../../api/spi.ts';
import type { Column } from '../output/output.ts';
import { count } from '../output/text.ts';
import { run, withWatch } from '../session.ts';

type LeftOutRow = { readonly node: string; readonly peer: string; readonly sa: string; readonly why: string };

const COLUMNS: readonly Column<LeftOutRow>[] = [
  { title: 'PEER', width: 28, of: ({ peer }) => peer },
  { title: 'SA', width: 32, of: ({ sa }) => sa },
  { title: 'NODE', width: 16, of: ({ node }) => node },
  { title: 'WHY', width: 0, of: ({ why }) => why },
];

export function addLeftOut(program: Command): void {
  withWatch(program.command('left-out').description('SAs that the cluster does not watch, and why'))
    .option('-H, --headend <name>', 'only of this headend')
    .action(
      run(async ({ cluster, out }, { headend = '' }: { headend?: string }) => {
        const nodes = (await cluster.nodes()).map((node) => ({ node }));
        const lists = await cluster.each(nodes, async ({ node }) => ({
          node,
          ...(await node.ask(OperatorService.method.listLeftOut, { headend })),
        }));
        const rows = lists.flatMap(({ node, sas }) =>
          sas.map(
            ({ id, peerId, why }): LeftOutRow => ({ node: node.id, peer: peerId, sa: id ? spiHex(id) : '', why }),
          ),
        );
        await out.table(COLUMNS, rows, 'every SA is watched');
        const total = lists.reduce((sum, list) => sum + list.total, 0);
        if (rows.length < total && !out.json) await out.line(`and ${count(total - rows.length)} more`);
      }),
    );
}
