/** `dpdctl policy`: the policies in use, and how many peers have each. */

import { create, toBinary } from '@bufbuild/protobuf';
import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { Action, type Policy, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import type { Cluster } from '../cluster.ts';
import type { Column } from '../output/output.ts';
import { describePolicy, modeName } from '../output/peers.ts';
import { count } from '../output/text.ts';
import { run } from '../session.ts';

const PAGE = 1_000;

type PolicyRow = {
  readonly headend: string;
  readonly peers: number;
  readonly mode: string;
  readonly intervalMs: number;
  readonly retryIntervalMs: number;
  readonly retries: number;
  readonly jitterPercent: number;
  readonly action: string;
  readonly unprovenMs: number;
  readonly policy: string;
};

const COLUMNS: readonly Column<PolicyRow>[] = [
  { title: 'HEADEND', width: 16, of: ({ headend }) => headend },
  { title: 'PEERS', width: 9, right: true, of: ({ peers }) => count(peers) },
  { title: 'POLICY', width: 0, of: ({ policy }) => policy },
];

export function addPolicy(program: Command): void {
  program
    .command('policy')
    .description('policies in use, and how many peers have each')
    .option('-H, --headend <name>', 'only of this headend')
    .action(
      run(async ({ cluster, out }, { headend = '' }: { headend?: string }) => {
        const used = await countPolicies(cluster, headend);
        const rows = used
          .map(({ of, policy, peers }): PolicyRow => {
            const { intervalMs, retryIntervalMs, retries, jitterPercent, action, unprovenMs } = policy;
            return {
              headend: of,
              peers,
              mode: modeName(policy),
              intervalMs,
              retryIntervalMs,
              retries,
              jitterPercent,
              action: Action[action || Action.FAILOVER],
              unprovenMs,
              policy: describePolicy(policy),
            };
          })
          .sort((a, b) => (a.headend < b.headend ? -1 : a.headend > b.headend ? 1 : b.peers - a.peers));
        await out.table(COLUMNS, rows, 'no peer is watched');
      }),
    );
}

/** Reads every peer, and keeps one of each policy. */
async function countPolicies(cluster: Cluster, headend: string) {
  const used = new Map<string, { readonly of: string; readonly policy: Policy; peers: number }>();
  for (const { node, headends } of await cluster.hosting(headend))
    for (const of of headends) {
      let pageToken = '';
      do {
        const page = await node.ask(OperatorService.method.listPeers, { headend: of, pageSize: PAGE, pageToken });
        for (const { sa } of page.peers) {
          const policy = sa?.policy ?? create(PolicySchema);
          const key = `${of} ${Buffer.from(toBinary(PolicySchema, policy)).toString('hex')}`;
          const known = used.get(key);
          if (known) known.peers++;
          else used.set(key, { of, policy, peers: 1 });
        }
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
    }
  return [...used.values()];
}
