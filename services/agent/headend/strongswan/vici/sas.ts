/** vici's list of SAs: the check on the feed, and the counters that become evidence. */

import { isIP } from 'node:net';
import { isWhole } from '../../../../base/shape.ts';
import type { HaHost, HaSaId } from '../ha/ha-message.ts';
import type { ViciClient } from './client.ts';
import type { ViciSection } from './codec.ts';

export type ListedChild = {
  /** As the connection's configuration has it. */
  readonly name: string;
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  /** Seconds since the last packet; undefined if there was none. */
  readonly useIn: number | undefined;
  readonly useOut: number | undefined;
};

export type ListedSa = {
  readonly id: HaSaId;
  /** IKE version: 1 or 2. */
  readonly version: number;
  /** SPI pair in hex. */
  readonly spi: string;
  /** charon's number for the SA: never used twice. */
  readonly uniqueId: string;
  readonly connection: string;
  readonly established: boolean;
  readonly remoteId: string;
  readonly local: HaHost;
  readonly remote: HaHost;
  /** charon has a request of its own under way or waiting. */
  readonly busy: boolean;
  readonly children: readonly ListedChild[];
};

/** Which SAs are listed: all, one by charon's number, or those of a connection. */
export type SaFilter = { readonly 'ike-id'?: string; readonly ike?: string };

/**
 * IKE SAs of the hub. charon waits for an SA that is busy, or omits it if only that one is requested. Throws ViciError.
 * @param keep which of them are returned; called for each as it comes, because there may be very many
 */
export async function listSas(
  vici: ViciClient,
  filter: SaFilter = {},
  keep: (sa: ListedSa) => boolean = () => true,
): Promise<ListedSa[]> {
  const alone = filter['ike-id'] !== undefined;
  const read = (event: ViciSection) => readSas(event).filter(keep);
  return vici.list('list-sas', 'list-sa', read, { ...filter, ...(alone && { noblock: 'yes' }) });
}

/** IKE SAs in a message of charon's, by connection; of a rekeying the new one. An SA that is incomplete or invalid is skipped. */
export function readSas(message: ViciSection): ListedSa[] {
  return Object.entries(message).flatMap(([connection, value]) => {
    if (typeof value !== 'object' || Array.isArray(value)) return [];
    const sa = (value['new'] ?? value) as ViciSection;
    if (sa['uniqueid'] === undefined) return [];
    const listed = toListedSa(connection, sa);
    return isSound(listed) ? [listed] : [];
  });
}

/** Whether an SA has SPIs, and, once it is established, two ends. */
function isSound({ spi, established, local, remote }: ListedSa): boolean {
  return SPI_PAIR.test(spi) && (!established || [local, remote].every(isHost));
}
const SPI_PAIR = /^[0-9a-f]{32}$/;

function isHost({ address, port }: HaHost): boolean {
  return isIP(address) > 0 && !address.includes('%') && isWhole(port, 0, 65_535);
}

function toListedSa(connection: string, sa: ViciSection): ListedSa {
  const text = (name: string) => String(sa[name] ?? '');
  const version = Number(sa['version']);
  const spi = text('initiator-spi').padStart(16, '0') + text('responder-spi').padStart(16, '0');
  const children = Object.entries((sa['child-sas'] ?? {}) as Record<string, ViciSection>);
  return {
    id: {
      version,
      spiI: Buffer.from(spi.slice(0, 16), 'hex'),
      spiR: Buffer.from(spi.slice(16), 'hex'),
      initiator: sa['initiator'] === 'yes',
    },
    version,
    spi,
    uniqueId: text('uniqueid'),
    connection,
    established: sa['state'] === 'ESTABLISHED',
    remoteId: text('remote-id'),
    local: { address: text('local-host'), port: Number(sa['local-port'] ?? 4500) },
    remote: { address: text('remote-host'), port: Number(sa['remote-port'] ?? 4500) },
    busy: sa['tasks-active'] !== undefined || sa['tasks-queued'] !== undefined,
    children: children.map(([key, child]) => ({
      // Old releases have it as the key only.
      name: String(child['name'] ?? key),
      inboundSpi: Number.parseInt(String(child['spi-in'] ?? '0'), 16),
      outboundSpi: Number.parseInt(String(child['spi-out'] ?? '0'), 16),
      packetsIn: Number(child['packets-in'] ?? 0),
      packetsOut: Number(child['packets-out'] ?? 0),
      useIn: child['use-in'] === undefined ? undefined : Number(child['use-in']),
      useOut: child['use-out'] === undefined ? undefined : Number(child['use-out']),
    })),
  };
}
