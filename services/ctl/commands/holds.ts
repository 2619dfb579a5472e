/** `dpdctl holds`: verdicts that are held back, and what an operator decides about them. */

import type { Command } from 'commander';
import { HoldDecision, OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { spiHex } from '../../api/spi.ts';
import { confirm } from '../confirm.ts';
import { CtlError, Exit } from '../exit.ts';
import type { Column } from '../output/output.ts';
import { count, duration } from '../output/text.ts';
import { run, withWatch } from '../session.ts';

/** Verdicts of each node that are listed. */
const LISTED = 1_000;

type HoldRow = {
  readonly headend: string;
  readonly shard: number;
  readonly node: string;
  readonly peer: string;
  readonly sa: string;
  readonly site: string;
  readonly heldMs: number;
  readonly reason: string;
};

const COLUMNS: readonly Column<HoldRow>[] = [
  { title: 'HEADEND', width: 16, of: ({ headend }) => headend },
  { title: 'PEER', width: 28, of: ({ peer }) => peer },
  { title: 'HELD', width: 10, right: true, of: ({ heldMs }) => duration(heldMs) },
  { title: 'NODE', width: 16, of: ({ node }) => node },
  { title: 'REASON', width: 0, of: ({ reason }) => reason },
];

type HoldsOptions = {
  readonly headend?: string;
  readonly release?: boolean;
  readonly drop?: boolean;
  readonly yes?: boolean;
};

export function addHolds(program: Command): void {
  withWatch(program.command('holds').description('verdicts that are held back'))
    .option('-H, --headend <name>', 'only of this headend')
    .option('--release', 'the deaths are true: give the verdicts')
    .option('--drop', 'they are not: forget them, and suspect the peers anew')
    .option('-y, --yes', 'do not ask')
    .action(
      run(async ({ cluster, out }, { headend = '', release, drop, yes }: HoldsOptions) => {
        if (release && drop) throw new CtlError(Exit.USAGE, '--release or --drop: not both');
        const nodes = (await cluster.nodes()).map((node) => ({ node }));
        const held = await cluster.each(nodes, async ({ node }) => ({
          node,
          ...(await node.ask(OperatorService.method.listHeldVerdicts, { headend, limit: LISTED })),
        }));
        const total = held.reduce((sum, each) => sum + each.total, 0);
        if (!release && !drop) {
          const rows = held.flatMap(({ node, verdicts }) =>
            verdicts.map(({ headend: of, shard, sa, peerId, site, heldMs, reason }): HoldRow => {
              return {
                headend: of,
                shard,
                node: node.id,
                peer: peerId,
                sa: spiHex(sa!),
                site,
                heldMs: Number(heldMs),
                reason,
              };
            }),
          );
          await out.table(COLUMNS, rows, 'no verdict is held back');
          if (rows.length < total && !out.json) await out.line(`and ${count(total - rows.length)} more`);
          return;
        }
        if (total > 1) await confirm(`${release ? 'give' : 'drop'} ${count(total)} verdicts`, yes);
        const decision = release ? HoldDecision.RELEASE : HoldDecision.DROP;
        const settled = await cluster.each(held, ({ node }) =>
          node.ask(OperatorService.method.settleHeldVerdicts, { headend, decision }),
        );
        const verdicts = settled.reduce((sum, each) => sum + each.verdicts, 0);
        if (out.json) await out.object({ decision: release ? 'RELEASE' : 'DROP', verdicts });
        else await out.line(`${count(verdicts)} verdicts ${release ? 'are given, paced' : 'are dropped'}`);
      }),
    );
}
