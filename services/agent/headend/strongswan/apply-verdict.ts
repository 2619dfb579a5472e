/** What a verdict does to the hub: the SA it names goes, and the next endpoint's connection comes up. */

import { Action, Outcome, type Verdict } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { spiFromHex, spiHex } from '../../../api/spi.ts';
import type { Logger } from '../../../base/log.ts';
import type { Applied } from '../headend.ts';
import type { PeersFile } from '../peers-file.ts';
import type { ViciClient } from './vici/client.ts';
import { listSas } from './vici/sas.ts';

/** Longest wait for an endpoint's SA to come up, ms. */
const INITIATE_MS = 10_000;

/** Applies a verdict. Throws ViciError if charon cannot be asked. */
export async function applyVerdict(
  vici: ViciClient,
  peers: PeersFile,
  verdict: Verdict,
  log: Logger,
): Promise<Applied> {
  const spi = spiHex(verdict.sa!);
  const listed = await listSas(vici);
  const sa = listed.find((other) => other.spi === spi);
  // Gone, but with no other way up: whoever deleted it did not get any further.
  const connections = new Set(verdict.endpoints.map(({ connection }) => connection));
  const replaced = listed.some((other) => other.established && connections.has(other.connection));
  if (!sa && verdict.attempt === 0 && (replaced || verdict.action !== Action.FAILOVER))
    return { outcome: Outcome.SA_GONE, detail: `no SA ${spi}` };
  // By charon's own number, which names exactly this SA and is never given to another.
  if (sa) await vici.request('terminate', { 'ike-id': sa.uniqueId, force: 'yes' });
  if (verdict.action !== Action.FAILOVER || verdict.endpoints.length < 2)
    return { outcome: Outcome.CLEARED, detail: `SA ${spi} deleted` };
  const { address, connection } = verdict.endpoints[verdict.nextEndpoint]!;
  const child = peers.get(verdict.peerId).endpoints.find((endpoint) => endpoint.connection === connection)?.child;
  if (!connection || !child) return { outcome: Outcome.FAILOVER_FAILED, detail: `${address}: no connection known` };
  try {
    await vici.request('initiate', { ike: connection, child, timeout: String(INITIATE_MS) }, INITIATE_MS + 5_000);
  } catch (error) {
    const reason = (error as Error).message;
    log.warn({ peer: verdict.peerId, connection, reason }, 'endpoint did not come up');
    return { outcome: Outcome.FAILOVER_FAILED, detail: `${connection}: ${reason}`.slice(0, 400) };
  }
  const up = (await listSas(vici)).find((other) => other.connection === connection && other.established);
  return {
    outcome: Outcome.FAILED_OVER,
    detail: `${connection} up to ${address}`,
    successor: up && spiFromHex(up.spi),
  };
}
