/** `dpdctl peers`: peers of all nodes, as they come; sorted only as many as were asked for are kept. */

import { type Command, Option } from 'commander';
import { OperatorService, PeerState } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { Mode } from '../../../proto/gen/dpd/v1/types_pb.js';
import type { Cluster } from '../cluster.ts';
import { CtlError, Exit } from '../exit.ts';
import { lossOf, PEER_COLUMNS, type PeerRow, peerRow } from '../output/peers.ts';
import { run, withWatch } from '../session.ts';

/** Peers of one request. */
const PAGE = 1_000;
/** Peers of a sorted list, unless said otherwise, and at most. */
const SORTED = 100;
const MOST_SORTED = 100_000;

export type PeerFilter = {
  readonly headend?: string;
  readonly state?: readonly string[];
  readonly mode?: readonly string[];
  readonly site?: string;
  readonly endpoint?: string;
};
type PeersOptions = PeerFilter & { readonly sort?: keyof typeof ORDERS; readonly limit?: string };

/** What comes first. */
const ORDERS = {
  age: (row: PeerRow) => row.lastEvidenceAgeMs,
  loss: lossOf,
  'round-trip': (row: PeerRow) => row.roundTripMs ?? -1,
} as const;

const STATES = names(PeerState);
const MODES = names(Mode);

/** Adds the options that choose peers. */
export function withFilters(command: Command): Command {
  return command
    .option('-H, --headend <name>', 'only of this headend')
    .addOption(new Option('-s, --state <state...>', 'only in these states').choices(STATES))
    .addOption(new Option('-m, --mode <mode...>', 'only with these modes').choices(MODES))
    .option('--site <site>', 'only of this site')
    .option('-e, --endpoint <address>', 'only whose active endpoint has this address');
}

export function addPeers(program: Command): void {
  withWatch(withFilters(program.command('peers').description('peers of all nodes')))
    .addOption(new Option('--sort <by>', 'the highest first').choices(Object.keys(ORDERS)))
    .option('-n, --limit <count>', `so many at most [all; ${SORTED} if sorted]`)
    .action(
      run(async ({ cluster, out }, options: PeersOptions) => {
        const limit = limitOf(options);
        const rows = listPeers(cluster, options);
        const chosen = options.sort ? highest(rows, ORDERS[options.sort], limit) : first(rows, limit);
        const shown = await out.rows(PEER_COLUMNS, chosen);
        if (shown === 0 && !out.json) await out.line('no such peer');
      }),
    );
}

/** Peers that match, node by node, page by page. Nodes that cannot be reached are noted. */
export async function* listPeers(cluster: Cluster, filter: PeerFilter): AsyncGenerator<PeerRow> {
  for (const { node, headends } of await cluster.hosting(filter.headend ?? ''))
    for (const headend of headends) {
      let pageToken = '';
      do {
        try {
          const page = await node.ask(OperatorService.method.listPeers, {
            headend,
            pageSize: PAGE,
            pageToken,
            states: (filter.state ?? []).map((name) => named(PeerState, name)),
            modes: (filter.mode ?? []).map((name) => named(Mode, name)),
            site: filter.site ?? '',
            address: filter.endpoint ?? '',
          });
          for (const peer of page.peers) yield peerRow(node.id, peer);
          pageToken = page.nextPageToken;
        } catch (error) {
          cluster.unlessUnreached(node, error);
          break;
        }
      } while (pageToken !== '');
    }
}

async function* first(rows: AsyncIterable<PeerRow>, limit: number): AsyncGenerator<PeerRow> {
  if (limit === 0) return;
  let count = 0;
  for await (const row of rows) {
    yield row;
    if (++count === limit) return;
  }
}

/** Those with the highest values; of a million peers only twice as many as were asked for are kept at a time. */
async function* highest(
  rows: AsyncIterable<PeerRow>,
  value: (row: PeerRow) => number,
  limit: number,
): AsyncGenerator<PeerRow> {
  let kept: PeerRow[] = [];
  const cut = () => {
    kept = kept.sort((a, b) => value(b) - value(a)).slice(0, limit);
  };
  for await (const row of rows) {
    kept.push(row);
    if (kept.length >= 2 * limit) cut();
  }
  cut();
  yield* kept;
}

function limitOf({ limit, sort }: PeersOptions): number {
  if (limit === undefined) return sort ? SORTED : Number.POSITIVE_INFINITY;
  const most = sort ? MOST_SORTED : Number.MAX_SAFE_INTEGER;
  const value = Number(limit);
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw new CtlError(Exit.USAGE, `limit=${limit}: must be a whole number from 1 to ${most}`);
  return value;
}

/** Names of an enumeration in lower case, as flags have them. */
function names(enumeration: Readonly<Record<string, string | number>>): string[] {
  return Object.keys(enumeration)
    .filter((name) => !/^\d/.test(name) && name !== 'UNSPECIFIED')
    .map((name) => name.toLowerCase().replaceAll('_', '-'));
}

function named<T extends Readonly<Record<string, string | number>>>(enumeration: T, name: string): number {
  return enumeration[name.toUpperCase().replaceAll('-', '_')] as number;
}
