/**
 * Datagrams that the kernel dropped unread because a socket's queue was full. Linux counts them by socket in /proc/net/udp
 * and /proc/net/udp6 (proc(5)); other systems do not report them, so none are known.
 */

import { readFile } from 'node:fs/promises';
import { Address } from '../base/address.ts';

const TABLES = ['/proc/self/net/udp', '/proc/self/net/udp6'];
/** All questions within this time share one reading of the tables, ms. */
const FRESH_MS = 200;

let newest: { readonly at: number; readonly counts: Promise<ReadonlyMap<string, number>> } | undefined;

export class ReceiveDrops {
  readonly #socket: string;
  #known = 0;

  /** Of the socket bound to an address and a UDP port. */
  constructor(address: string, port: number) {
    this.#socket = key(address, port);
  }

  /** How many since it was asked last. Never rejects. @param nowMs on any clock, always the same */
  async readNew(nowMs: number): Promise<number> {
    if (!newest || nowMs - newest.at >= FRESH_MS) newest = { at: nowMs, counts: readTable() };
    const total = (await newest.counts).get(this.#socket) ?? 0;
    const dropped = total - this.#known;
    this.#known = total;
    return Math.max(0, dropped);
  }
}

async function readTable(): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { socket, drops } of await readSockets()) if (drops > 0) counts.set(socket, drops);
  return counts;
}

/** What waits in a socket's queue, bytes, and datagrams dropped since it was opened. */
export type SocketQueue = { readonly waiting: number; readonly drops: number };

/**
 * For the socket bound to an address and a UDP port, of any process; undefined if there is none in this network namespace.
 * Never rejects.
 */
export async function readQueue(address: string, port: number): Promise<SocketQueue | undefined> {
  const wanted = key(address, port);
  return (await readSockets()).find(({ socket }) => socket === wanted);
}

async function readSockets(): Promise<(SocketQueue & { readonly socket: string })[]> {
  const tables = await Promise.all(TABLES.map((path) => readFile(path, 'latin1').catch(() => '')));
  return tables.flatMap(socketsOf);
}

function socketsOf(table: string): (SocketQueue & { readonly socket: string })[] {
  return table
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => {
      // slot, local address:port, remote, state, queues (out:in), timers, retransmits, uid, timeout, inode, references, pointer, drops
      const columns = line.trim().split(/\s+/);
      return {
        socket: columns[1]!,
        waiting: Number.parseInt(columns[4]!.split(':')[1]!, 16),
        drops: Number(columns.at(-1)),
      };
    });
}

/** As the tables name it: the address by words, the octets of each backwards, as a little-endian machine has them. */
function key(text: string, port: number): string {
  const { family, bytes } = Address.of(text);
  const words = Buffer.from(family === 4 ? bytes.subarray(-4) : bytes).swap32();
  return `${words.toString('hex').toUpperCase()}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}
