/**
 * Applies a verdict on the hub: deletes the SA that it names, and brings up the next endpoint's connection, unless the peer is back
 * already.
 */

import pLimit from 'p-limit';
import { Action, DeadReason, Outcome, type Policy, type Verdict } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { detectionMs } from '../../../../workers/liveness/schedule.ts';
import { spiFromHex, spiHex } from '../../../api/spi.ts';
import type { Logger } from '../../../base/log.ts';
import type { Applied } from '../headend.ts';
import type { PeersFile } from '../peers-file.ts';
import type { Looks } from './looks.ts';
import { ViciClient } from './vici/client.ts';
import type { ViciSection } from './vici/codec.ts';
import { type ListedSa, listSas } from './vici/sas.ts';

/** Longest wait for an endpoint's SA to come up, ms. */
const INITIATE_MS = 10_000;
/** Number of simultaneous connections to charon for that: charon lets ten wait. */
const initiations = pLimit(8);
/** Ages are in whole seconds, ms. */
const SLACK_MS = 2_000;

export type VerdictContext = {
  readonly vici: ViciClient;
  readonly looks: Looks;
  /** A separate connection for commands that take long. */
  readonly viciSocket: string;
  readonly peers: PeersFile;
  readonly log: Logger;
  /** charon's number of an SA by SPI pair in hex, as far as it is known. */
  uniqueId(spi: string): string | undefined;
  /** Another established SA with this peer; undefined if there is none. */
  otherSa(peerId: string, spi: string): string | undefined;
  /** The SA was heard from, so long ago, ms. */
  alive(spi: string, ageMs: number): void;
};

/** Applies a verdict. Throws ViciError if charon cannot be asked. */
export async function applyVerdict(context: VerdictContext, verdict: Verdict): Promise<Applied> {
  const { vici } = context;
  const { action } = verdict;
  const spi = spiHex(verdict.sa!);
  const sa = await context.looks.find({ spi, uniqueId: context.uniqueId(spi) });
  const { policy } = context.peers.get(verdict.peerId);
  const asked = verdict.reason === DeadReason.OPERATOR;
  if (sa) {
    const heardAgeMs = asked ? undefined : lastLook(sa, policy);
    if (heardAgeMs !== undefined) {
      context.alive(spi, heardAgeMs);
      return {
        outcome: Outcome.PEER_ALIVE,
        detail: `SA ${spi} was heard from ${Math.round(heardAgeMs / 1_000)} s ago`,
      };
    }
    if (action === Action.NOTIFY || (!asked && onlyTells(policy)))
      return { outcome: Outcome.NOTIFIED, detail: wouldBe(verdict) };
    // By charon's own number for the SA, which is never given to another SA.
    await vici.request('terminate', { 'ike-id': sa.uniqueId, force: 'yes' });
  } else if ((verdict.attempt === 0 && !BRINGS_UP.has(action)) || (!asked && onlyTells(policy)))
    return { outcome: Outcome.SA_GONE, detail: `no SA ${spi}` };
  if (action === Action.TRAP) return trap(context, verdict, sa);
  if (action !== Action.RESTART && (action !== Action.FAILOVER || verdict.endpoints.length < 2))
    return { outcome: Outcome.CLEARED, detail: `SA ${spi} deleted` };
  // A peer that is back, for example after a restart, has set up its own SA.
  const other = context.otherSa(verdict.peerId, spi);
  if (other)
    return { outcome: sa ? Outcome.CLEARED : Outcome.SA_GONE, detail: `${verdict.peerId} is up on SA ${other}` };
  return initiations(() => bringUp(context, verdict, sa));
}

/** Actions after which an endpoint is up. */
const BRINGS_UP: ReadonlySet<Action> = new Set([Action.FAILOVER, Action.RESTART]);

/** A verdict may be older than the settings that count now: it was kept while its headend was away, or is a later attempt. */
function onlyTells({ observe, action }: Policy): boolean {
  return observe || action === Action.NOTIFY;
}

/** What an action would have done, for people. */
function wouldBe({ sa, action, observed: named, endpoints, nextEndpoint }: Verdict): string {
  const spi = spiHex(sa!);
  const observed = action === Action.NOTIFY ? named : action;
  if (observed === Action.UNSPECIFIED) return `SA ${spi} stays: only told`;
  const to = BRINGS_UP.has(observed) ? ` to ${endpoints[nextEndpoint]!.address}` : '';
  return `SA ${spi} stays: observed, would have been ${Action[observed]}${to}`;
}

async function bringUp(context: VerdictContext, verdict: Verdict, sa: ListedSa | undefined): Promise<Applied> {
  const { address, connection } = verdict.endpoints[verdict.nextEndpoint]!;
  const vici = new ViciClient(context.viciSocket);
  try {
    const [child] = connection ? await childrenOf(context, vici, verdict, sa) : [];
    if (!child) return { outcome: Outcome.FAILOVER_FAILED, detail: `${address}: no connection known` };
    const standby = await findStandby(context, vici, verdict, child);
    if (standby) return failedOver(standby, `${connection} was up to ${address} already`);
    await vici.request('initiate', { ike: connection, child, timeout: String(INITIATE_MS) }, INITIATE_MS + 5_000);
    const up = (await listSas(vici, { ike: connection })).find(({ established }) => established);
    if (!up) return { outcome: Outcome.FAILOVER_FAILED, detail: `${connection} came up, and went again` };
    return failedOver(up, `${connection} up to ${address}`);
  } catch (error) {
    const reason = (error as Error).message;
    context.log.warn({ peer: verdict.peerId, connection, reason }, 'endpoint did not come up');
    return { outcome: Outcome.FAILOVER_FAILED, detail: `${connection}: ${reason}`.slice(0, 400) };
  } finally {
    vici.close();
  }
}

function failedOver({ spi }: ListedSa, detail: string): Applied {
  return { outcome: Outcome.FAILED_OVER, detail, successor: spiFromHex(spi) };
}

/**
 * The next endpoint's SA, if it is up with that child and was heard from just now: a hot standby needs no second child. One that is only
 * up may be dead itself: an initiation shows.
 */
async function findStandby(
  { peers }: VerdictContext,
  vici: ViciClient,
  { action, peerId, endpoints, nextEndpoint }: Verdict,
  child: string,
): Promise<ListedSa | undefined> {
  if (action !== Action.FAILOVER) return undefined;
  const { address, connection } = endpoints[nextEndpoint]!;
  const { policy } = peers.get(peerId);
  return (await listSas(vici, { ike: connection })).find(
    (sa) =>
      sa.established &&
      sa.remote.address === address &&
      sa.children.some(({ name }) => name === child) &&
      lastLook(sa, policy) !== undefined,
  );
}

/** Traffic brings the tunnel back: the trap policies of the SA's children stay, and what is missing is installed. */
async function trap(context: VerdictContext, verdict: Verdict, sa: ListedSa | undefined): Promise<Applied> {
  const { vici, log } = context;
  const { address, connection } = verdict.endpoints[verdict.nextEndpoint]!;
  try {
    const children = connection ? await childrenOf(context, vici, verdict, sa) : [];
    if (children.length === 0) return { outcome: Outcome.FAILOVER_FAILED, detail: `${address}: no connection known` };
    for (const child of children)
      if (!(await hasTrap(vici, child))) await vici.request('install', { child, ike: connection });
    return {
      outcome: Outcome.CLEARED,
      detail: `SA deleted, trap policy of ${children.join(', ')} stands`.slice(0, 400),
    };
  } catch (error) {
    const reason = (error as Error).message;
    log.warn({ peer: verdict.peerId, connection, reason }, 'no trap policy');
    return { outcome: Outcome.FAILOVER_FAILED, detail: `${connection}: ${reason}`.slice(0, 400) };
  }
}

async function hasTrap(vici: ViciClient, child: string): Promise<boolean> {
  const traps = await vici.list('list-policies', 'list-policy', (policy) => Object.values(policy), {
    trap: 'yes',
    child,
  });
  return traps.length > 0;
}

/** Names of the children to bring up: as the peers file says, else those that the SA had, else those that the connection has. */
async function childrenOf(
  { peers }: VerdictContext,
  vici: ViciClient,
  { peerId, endpoints, nextEndpoint }: Verdict,
  sa: ListedSa | undefined,
): Promise<readonly string[]> {
  const { connection } = endpoints[nextEndpoint]!;
  const listed = peers.get(peerId).endpoints.find((endpoint) => endpoint.connection === connection)?.child;
  if (listed) return [listed];
  const had = sa?.connection === connection ? sa.children.flatMap(({ name }) => (name === '' ? [] : [name])) : [];
  if (had.length > 0) return [...new Set(had)];
  return vici.list('list-conns', 'list-conn', (conns) => childNames(conns[connection]), { ike: connection });
}

function childNames(connection: ViciSection[string] | undefined): string[] {
  const children = isSection(connection) ? connection['children'] : undefined;
  return isSection(children) ? Object.keys(children) : [];
}

function isSection(value: ViciSection[string] | undefined): value is ViciSection {
  return typeof value === 'object' && !Array.isArray(value);
}

/**
 * How long ago the SA's own counters saw a packet from the peer, ms, if that is shorter than the peer's detection time and so
 * contradicts the verdict. No clocks are compared.
 */
function lastLook({ children }: ListedSa, policy: Policy): number | undefined {
  const used = children.flatMap(({ packetsIn, useIn }) =>
    packetsIn > 0 && useIn !== undefined ? [useIn * 1_000] : [],
  );
  const ageMs = Math.min(...used);
  return ageMs + SLACK_MS < detectionMs(policy) ? ageMs : undefined;
}
