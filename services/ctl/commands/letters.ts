/** `dpdctl letters`: failovers that were given up, and what an operator decides about them. */

import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { confirm } from '../confirm.ts';
import { CtlError, Exit } from '../exit.ts';
import type { Column } from '../output/output.ts';
import { count, moment } from '../output/text.ts';
import { run, withWatch } from '../session.ts';

/** Letters of each headend that are listed. */
const LISTED = 1_000;

type LetterRow = {
  readonly headend: string;
  readonly shard: number;
  readonly verdict: string;
  readonly peer: string;
  readonly attempts: number;
  readonly givenUp: string;
  readonly reason: string;
};

const COLUMNS: readonly Column<LetterRow>[] = [
  { title: 'HEADEND', width: 16, of: ({ headend }) => headend },
  { title: 'PEER', width: 28, of: ({ peer }) => peer },
  { title: 'GIVEN UP', width: 24, of: ({ givenUp }) => givenUp },
  { title: 'ATTEMPTS', width: 8, right: true, of: ({ attempts }) => count(attempts) },
  { title: 'VERDICT', width: 44, of: ({ verdict }) => verdict },
  { title: 'REASON', width: 0, of: ({ reason }) => reason },
];

type LettersOptions = {
  readonly headend?: string;
  readonly retry?: boolean;
  readonly drop?: boolean;
  readonly yes?: boolean;
};

export function addLetters(program: Command): void {
  withWatch(program.command('letters').description('failovers that were given up'))
    .argument('[verdict...]', 'with --retry or --drop: only these')
    .option('-H, --headend <name>', 'only of this headend')
    .option('--retry', 'try again, with the time of a new failover')
    .option('--drop', 'forget them')
    .option('-y, --yes', 'do not ask')
    .action(
      run(async ({ cluster, out }, { headend, retry, drop, yes }: LettersOptions, [verdicts]) => {
        const verdictIds = verdicts as unknown as readonly string[];
        if (retry && drop) throw new CtlError(Exit.USAGE, '--retry or --drop: not both');
        if (verdictIds.length > 0 && !headend)
          throw new CtlError(Exit.USAGE, 'verdicts are those of one headend: say --headend');
        const [node] = await cluster.nodes();
        const headends = headend === undefined ? await cluster.headends() : [headend];
        const lists = await Promise.all(
          headends.map(async (of) => ({
            of,
            ...(await node!.ask(OperatorService.method.listDeadLetters, { headend: of, limit: LISTED })),
          })),
        );
        if (!retry && !drop) {
          const rows = lists.flatMap(({ of, letters }) =>
            letters.map(({ shard, verdictId, peerId, attempts, reason, givenUpUnixMs }): LetterRow => {
              const givenUp = moment(givenUpUnixMs);
              return { headend: of, shard, verdict: verdictId, peer: peerId, attempts, givenUp, reason };
            }),
          );
          await out.table(COLUMNS, rows, 'no failover was given up');
          return;
        }
        const total = verdictIds.length || lists.reduce((sum, list) => sum + list.total, 0);
        if (total > 1)
          await confirm(`${retry ? 'try' : 'drop'} ${count(total)} failovers${retry ? ' again' : ''}`, yes);
        let settled = 0;
        for (const { of, total: letters } of lists)
          if (letters > 0)
            settled += (
              await node!.ask(OperatorService.method.settleDeadLetters, {
                headend: of,
                verdictIds: [...verdictIds],
                drop: drop === true,
              })
            ).settled;
        if (out.json) await out.object({ decision: retry ? 'RETRY' : 'DROP', settled });
        else await out.line(`${count(settled)} failovers are ${retry ? 'tried again' : 'dropped'}`);
      }),
    );
}
