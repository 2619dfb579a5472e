/** Many spokes of one charon: a connection, an identity and an address each, IKE SAs without children (RFC 6023). */

import { ViciClient } from '../../../services/agent/headend/strongswan/vici/client.ts';
import type { Daemon } from './daemon.ts';

export const HUB_ADDRESS = '192.0.2.1';
const HUB_ID = 'hub';
const SECRET = { id: 'lab', type: 'IKE', data: 'labsecret', owners: [] };
/** Exchanges under way at once: each holds one of the daemon's threads. */
const AT_ONCE = 16;
const UP_MS = 30_000;
/** Addresses used of each /24. */
const PER_NET = 250;

export class Fleet {
  readonly #daemon: Daemon;
  readonly #name: string;
  readonly #net: string;
  readonly size: number;
  #rekeyed = 0;

  /** @param name starts each spoke's identity @param net first two bytes of their addresses */
  constructor(daemon: Daemon, name: string, net: string, size: number) {
    this.#daemon = daemon;
    this.#name = name;
    this.#net = net;
    this.size = size;
  }

  /** Addresses of a fleet's spokes. */
  static addresses(net: string, size: number): string[] {
    return Array.from({ length: size }, (_, n) => `${net}.${Math.floor(n / PER_NET)}.${(n % PER_NET) + 1}`);
  }

  /** Every spoke dials in. Resolves when all are up. Rejects with ViciError if one does not come up. */
  async up(): Promise<void> {
    const { vici, viciSocket } = this.#daemon;
    await vici.request('load-shared', SECRET);
    const addresses = Fleet.addresses(this.#net, this.size);
    for (const [n, address] of addresses.entries()) {
      const id = this.#id(n);
      await vici.request('load-conn', { [id]: connection([address, HUB_ADDRESS], [id, HUB_ID]) });
    }
    let next = 0;
    const dial = async (own: ViciClient) => {
      while (next < this.size)
        await own.request('initiate', { ike: this.#id(next++), timeout: String(UP_MS) }, UP_MS + 5_000);
    };
    const clients = Array.from({ length: AT_ONCE }, () => new ViciClient(viciSocket));
    try {
      // charon lets ten connections wait: one after the other.
      for (const client of clients) await client.request('version');
      await Promise.all(clients.map(dial));
    } finally {
      for (const client of clients) client.close();
    }
  }

  /** The next spoke rekeys its IKE SA. */
  async rekeyNext(): Promise<void> {
    await this.#daemon.vici.request('rekey', { ike: this.#id(this.#rekeyed++ % this.size) });
  }

  /** Whether an identity is one of this fleet's. */
  has(peerId: string): boolean {
    return peerId.startsWith(`${this.#name}-`);
  }

  #id(n: number): string {
    return `${this.#name}-${n}`;
  }
}

/** Has a hub accept every spoke that knows the secret. @param dpdS the hub's DPD delay, s; 0: no DPD */
export async function openHub(hub: Daemon, dpdS: number): Promise<void> {
  await hub.vici.request('load-shared', SECRET);
  await hub.vici.request('load-conn', { any: connection([HUB_ADDRESS, '%any'], [HUB_ID, '%any'], dpdS) });
}

function connection(addresses: readonly [string, string], ids: readonly [string, string], dpdS = 0) {
  return {
    version: '2',
    local_addrs: [addresses[0]],
    remote_addrs: [addresses[1]],
    // NAT traversal, and port 4500, though there is no NAT.
    encap: 'yes',
    mobike: 'no',
    childless: 'force',
    unique: 'never',
    dpd_delay: `${dpdS}s`,
    rekey_time: '0',
    proposals: ['aes128-sha256-x25519'],
    local: { auth: 'psk', id: ids[0] },
    remote: { auth: 'psk', id: ids[1] },
  };
}
