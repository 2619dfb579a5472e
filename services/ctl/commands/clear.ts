/** `dpdctl clear`: has the headend delete SAs, as `clear crypto session` does on a router. */

import type { Command } from 'commander';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { Action } from '../../../proto/gen/dpd/v1/types_pb.js';
import { spiFromHex } from '../../api/spi.ts';
import { confirm } from '../confirm.ts';
import { CtlError, Exit } from '../exit.ts';
import { PEER_COLUMNS, type PeerRow, peerRow } from '../output/peers.ts';
import { count } from '../output/text.ts';
import { run, type Session } from '../session.ts';
import { findPeer } from './peer.ts';
import { listPeers, type PeerFilter, withFilters } from './peers.ts';

/** SAs of one request. */
const BATCH = 1_000;
/** SAs of one command, at most. */
const MOST = 100_000;

type ClearOptions = PeerFilter & { readonly yes?: boolean; readonly dryRun?: boolean; readonly failover?: boolean };

export function addClear(program: Command): void {
  withFilters(
    program
      .command('clear')
      .description('have the headend delete SAs, whether their peers live or not')
      .argument('[peer]', 'IKE identity; without it the options choose'),
  )
    .option('--failover', 'then bring up the next endpoint')
    .option('-y, --yes', 'do not ask')
    .option('--dry-run', 'only show what would be deleted')
    .action(
      run(async (session, options: ClearOptions, [peer]) => {
        const rows = await choose(session, options, peer);
        if (rows.length === 0) throw new CtlError(Exit.NOT_FOUND, 'no such peer: nothing was done');
        if (options.dryRun) return session.out.table(PEER_COLUMNS, rows, '');
        if (rows.length > 1) await confirm(`delete ${count(rows.length)} SAs`, options.yes);
        const cleared = await clear(session, rows, options.failover ? Action.FAILOVER : Action.CLEAR);
        if (session.out.json) await session.out.object({ chosen: rows.length, cleared });
        else await session.out.line(`${count(cleared)} of ${count(rows.length)} SAs are being deleted`);
      }),
    );
}

/** SAs to delete. Throws CtlError if nothing chooses, or too many are chosen. */
async function choose({ cluster }: Session, options: ClearOptions, peer: string | undefined): Promise<PeerRow[]> {
  const { headend, state, mode, site, endpoint } = options;
  if (peer !== undefined) {
    if (state || mode || site || endpoint) throw new CtlError(Exit.USAGE, 'a peer, or options that choose: not both');
    return (await findPeer(cluster, headend ?? '', peer)).map((found) => peerRow(found.node.id, found.peer));
  }
  if (!headend && !endpoint && !site)
    throw new CtlError(Exit.USAGE, 'which SAs? Name a peer, or choose by --headend, --endpoint or --site');
  const rows: PeerRow[] = [];
  for await (const row of listPeers(cluster, options)) {
    if (rows.length === MOST)
      throw new CtlError(Exit.USAGE, `more than ${count(MOST)} SAs are chosen: nothing was done`);
    rows.push(row);
  }
  return rows;
}

/** Returns how many SAs are being deleted. */
async function clear({ cluster }: Session, rows: readonly PeerRow[], action: Action): Promise<number> {
  const nodes = new Map((await cluster.nodes()).map((node) => [node.id, node]));
  let cleared = 0;
  for (const some of Map.groupBy(rows, ({ node, headend }) => `${node} ${headend}`).values())
    for (let n = 0; n < some.length; n += BATCH) {
      const [{ node, headend }] = some as [PeerRow, ...PeerRow[]];
      const sas = some.slice(n, n + BATCH).map(({ sa }) => spiFromHex(sa));
      const owner = nodes.get(node);
      if (!owner)
        throw new CtlError(Exit.UNREACHABLE, `node ${node} has gone; ${count(cleared)} SAs are being deleted`);
      cleared += (await owner.ask(OperatorService.method.clearSas, { headend, sas, action })).cleared;
    }
  return cleared;
}
