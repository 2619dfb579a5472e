/**
 * Datagrams that the kernel dropped unread because a socket's queue was full. Linux counts them by socket in /proc/net/udp
 * (proc(5)); elsewhere nobody tells, and none are known.
 */

import { readFile } from 'node:fs/promises';

const TABLE = '/proc/self/net/udp';
/** The table is read once for all who ask within this, ms. */
const FRESH_MS = 200;

let newest: { readonly at: number; readonly counts: Promise<ReadonlyMap<string, number>> } | undefined;

export class ReceiveDrops {
  readonly #socket: string;
  #known = 0;

  /** Of the socket bound to an IPv4 address, dotted, and a UDP port. */
  constructor(address: string, port: number) {
    this.#socket = key(address, port);
  }

  /** How many since it was asked last. Never rejects. @param nowMs on any clock, always the same */
  async take(nowMs: number): Promise<number> {
    if (!newest || nowMs - newest.at >= FRESH_MS) newest = { at: nowMs, counts: readTable() };
    const total = (await newest.counts).get(this.#socket) ?? 0;
    const dropped = total - this.#known;
    this.#known = total;
    return Math.max(0, dropped);
  }
}

async function readTable(): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const table = await readFile(TABLE, 'latin1').catch(() => '');
  for (const line of table.split('\n').slice(1)) {
    // slot, local address:port, remote, state, queues, timers, retransmits, uid, timeout, inode, references, pointer, drops
    const columns = line.trim().split(/\s+/);
    const drops = Number(columns.at(-1));
    if (drops > 0) counts.set(columns[1]!, drops);
  }
  return counts;
}

/** As the table names it: the address's octets backwards, as a little-endian machine has them. */
function key(address: string, port: number): string {
  const octets = address.split('.').reverse();
  return `${octets.map((octet) => hex(Number(octet), 2)).join('')}:${hex(port, 4)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
