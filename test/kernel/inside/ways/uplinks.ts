/**
 * A hub with policy routing and two uplinks: packets from one of its addresses go through that address's provider, which lets no other
 * source through. The main table has both, and prefers the second.
 *
 *   hub  192.0.2.1     `up-a`  --  provider-a 192.0.2.254     198.18.1.254  --  site-a 198.18.1.11, 198.18.1.12, ...
 *        198.51.100.1  `up-b`  --  provider-b 198.51.100.254  198.18.2.254  --  site-b 198.18.2.11, 198.18.2.12, ...
 *
 * A site's spokes are one charon's, an address each.
 */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ViciSection } from '../../../../services/agent/headend/strongswan/vici/codec.ts';
import { Charon } from '../daemons/charon.ts';
import { Namespace } from '../netns.ts';

export type Uplink = {
  readonly name: string;
  /** The hub's address, the provider's next to it, and the hub's table for what leaves from there. */
  readonly hub: string;
  readonly gateway: string;
  readonly table: string;
  /** Of its default route in the main table. */
  readonly metric: string;
  /** The spokes' net. */
  readonly net: string;
};
export const A: Uplink = {
  name: 'a',
  hub: '192.0.2.1',
  gateway: '192.0.2.254',
  table: '101',
  metric: '200',
  net: '198.18.1',
};
export const B: Uplink = {
  name: 'b',
  hub: '198.51.100.1',
  gateway: '198.51.100.254',
  table: '102',
  metric: '100',
  net: '198.18.2',
};
/** Of a provider's two devices. */
const TO_HUB = 'to-hub';
const TO_SITE = 'to-site';
const FIRST_SPOKE = 11;
const HUB_INNER = '10.1.0.1';
/** A route of last resort: packets for one uplink must not leave by another. */
const LAST_METRIC = '9999';

type Place = { readonly provider: Namespace; readonly site: Namespace };
type SiteCharons = ReadonlyMap<Uplink, Charon>;

export class Uplinks {
  readonly directory: string;
  readonly hub: Namespace;
  readonly hubCharon: Charon;
  readonly #places: ReadonlyMap<Uplink, Place>;
  readonly #charons: SiteCharons;

  private constructor(
    directory: string,
    hub: Namespace,
    hubCharon: Charon,
    places: ReadonlyMap<Uplink, Place>,
    charons: SiteCharons,
  ) {
    this.directory = directory;
    this.hub = hub;
    this.hubCharon = hubCharon;
    this.#places = places;
    this.#charons = charons;
  }

  /** Brings all hosts up, and tunnels of so many spokes on each uplink. */
  static async up(spokes: ReadonlyMap<Uplink, number>): Promise<Uplinks> {
    const directory = mkdtempSync(join(tmpdir(), 'dpd-uplinks-'));
    const hub = await Namespace.make('two-hub');
    await hub.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1');
    const places = new Map<Uplink, Place>();
    for (const [uplink, count] of spokes) places.set(uplink, await makePlace(hub, uplink, count));
    const hubCharon = Charon.start(hub, join(directory, 'hub'), true);
    const charons = new Map<Uplink, Charon>();
    for (const [uplink, { site }] of places)
      charons.set(uplink, await Charon.start(site, join(directory, uplink.name), false));
    const lab = new Uplinks(directory, hub, await hubCharon, places, charons);
    for (const [uplink, count] of spokes) for (const spoke of idsOf(uplink, count)) await lab.#connect(uplink, spoke);
    return lab;
  }

  /** What a spoke's SA goes to, as the spoke has it. */
  async hubsOf(uplink: Uplink): Promise<string[]> {
    const sas = await this.#charons.get(uplink)!.sas();
    return sas.map(({ remote }) => `${remote.address} ${remote.port}`);
  }

  /** The spoke is dead: it hears nothing and says nothing. */
  async kill(uplink: Uplink, spoke: string): Promise<void> {
    const address = addressOf(uplink, spoke);
    const chain = (hook: string, end: string) =>
      `chain ${hook} { type filter hook ${hook} priority 0; ip ${end} ${address} drop; };`;
    const grave = `table ip ${spoke} { ${chain('input', 'daddr')} ${chain('output', 'saddr')} }`;
    await this.#places.get(uplink)!.site.run('nft', grave);
  }

  /** Packets that a provider got from the hub with another's source, and dropped. */
  async strays(uplink: Uplink): Promise<number> {
    const said = await this.#places.get(uplink)!.provider.run('nft', 'list', 'counter', 'ip', 'provider', 'strays');
    return Number(/packets (\d+)/.exec(said)![1]);
  }

  /** Drops on the hub what a rule takes, by a hook. Returns what ends that. */
  cutAtHub(hook: 'input' | 'output', rule: string): Promise<() => Promise<void>> {
    return drop(this.hub, hook, rule);
  }

  /** Drops in a provider's network what goes to the hub, or comes from there. Returns what ends that. */
  cutBeyond(uplink: Uplink, which: 'to the hub' | 'from the hub'): Promise<() => Promise<void>> {
    const rule = which === 'to the hub' ? `oifname ${TO_HUB}` : `iifname ${TO_HUB}`;
    return drop(this.#places.get(uplink)!.provider, 'forward', rule);
  }

  /** Takes the hub's device of an uplink down. Returns the function that undoes this. */
  async unplug(uplink: Uplink): Promise<() => Promise<void>> {
    await this.hub.ip('link', 'set', deviceOf(uplink), 'down');
    return async () => {
      await this.hub.ip('link', 'set', deviceOf(uplink), 'up');
      await addDefaultRoutes(this.hub, uplink);
    };
  }

  /** Ends the daemons and removes the namespaces. */
  async down(): Promise<void> {
    await Promise.all([this.hubCharon, ...this.#charons.values()].map((charon) => charon.kill()));
    await this.hub.remove();
    for (const { provider, site } of this.#places.values()) {
      await provider.remove();
      await site.remove();
    }
  }

  async #connect(uplink: Uplink, spoke: string): Promise<void> {
    const address = addressOf(uplink, spoke);
    // Inside the tunnel it is known by the same, but for the first byte.
    const own = { address, id: spoke, net: `10.${address.slice(address.indexOf('.') + 1)}/32` };
    const hub = { address: uplink.hub, id: 'hub', net: `${HUB_INNER}/32` };
    await this.hubCharon.load(connection(spoke, hub, own));
    const charon = this.#charons.get(uplink)!;
    await charon.load(connection(spoke, own, hub));
    await charon.initiate(spoke);
  }
}

/** The hub's device. */
export function deviceOf({ name }: Uplink): string {
  return `up-${name}`;
}

/** Identities of an uplink's spokes. */
export function idsOf({ name }: Uplink, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${name}${n}`);
}

/** By the number in its identity. */
function addressOf({ net }: Uplink, spoke: string): string {
  return `${net}.${FIRST_SPOKE + Number(spoke.slice(1))}`;
}

async function makePlace(hub: Namespace, uplink: Uplink, spokes: number): Promise<Place> {
  const provider = await Namespace.make(`two-provider-${uplink.name}`);
  const site = await Namespace.make(`two-site-${uplink.name}`);
  await plug(hub, deviceOf(uplink), provider, TO_HUB);
  await plug(provider, TO_SITE, site, 'out');
  await hub.ip('addr', 'add', `${uplink.hub}/24`, 'dev', deviceOf(uplink));
  await provider.ip('addr', 'add', `${uplink.gateway}/24`, 'dev', TO_HUB);
  await provider.ip('addr', 'add', `${uplink.net}.254/24`, 'dev', TO_SITE);
  for (const spoke of idsOf(uplink, spokes))
    await site.ip('addr', 'add', `${addressOf(uplink, spoke)}/24`, 'dev', 'out');
  await site.ip('route', 'add', 'default', 'via', `${uplink.net}.254`);
  await provider.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  const honest = `iifname ${TO_HUB} ip saddr != ${uplink.hub} counter name strays drop`;
  await provider.run(
    'nft',
    `table ip provider { counter strays { }; chain sources { type filter hook prerouting priority 0; ${honest}; }; }`,
  );
  await hub.ip('rule', 'add', 'from', uplink.hub, 'table', uplink.table);
  await addDefaultRoutes(hub, uplink);
  await hub.ip('route', 'add', 'unreachable', 'default', 'metric', LAST_METRIC, 'table', uplink.table);
  return { provider, site };
}

/** Joins two hosts by a pair of devices, which are up. */
async function plug(one: Namespace, device: string, other: Namespace, itsDevice: string): Promise<void> {
  await one.ip('link', 'add', device, 'type', 'veth', 'peer', 'name', itsDevice, 'netns', other.name);
  await one.ip('link', 'set', device, 'up');
  await other.ip('link', 'set', itsDevice, 'up');
}

/** In the uplink's own table, and in the main one: from there comes a packet's first route, before the rules give it its source. */
async function addDefaultRoutes(hub: Namespace, { gateway, table, metric }: Uplink): Promise<void> {
  await hub.ip('route', 'add', 'default', 'via', gateway, 'table', table);
  await hub.ip('route', 'add', 'default', 'via', gateway, 'metric', metric);
}

async function drop(host: Namespace, hook: string, rule: string): Promise<() => Promise<void>> {
  await host.run('nft', `table ip cut { chain cut { type filter hook ${hook} priority 0; ${rule} drop; }; }`);
  return async () => {
    await host.run('nft', 'delete', 'table', 'ip', 'cut');
  };
}

type End = { readonly address: string; readonly id: string; readonly net: string };

/** One end of a tunnel, as vici wants it. The hub asks nothing itself. */
function connection(name: string, here: End, there: End): ViciSection {
  return {
    [name]: {
      version: '2',
      local_addrs: [here.address],
      remote_addrs: [there.address],
      encap: 'yes',
      mobike: 'no',
      dpd_delay: '0',
      rekey_time: '0',
      proposals: ['aes256gcm16-prfsha256-x25519'],
      local: { auth: 'psk', id: here.id },
      remote: { auth: 'psk', id: there.id },
      children: {
        [name]: { local_ts: [here.net], remote_ts: [there.net], esp_proposals: ['aes256gcm16'], rekey_time: '0' },
      },
    },
  };
}
