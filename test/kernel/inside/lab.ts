/** A hub and a spoke, each a stock strongSwan on the kernel's own ESP, and tunnels between them. */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ViciSection } from '../../../services/agent/headend/strongswan/vici/codec.ts';
import { eventually } from '../../eventually.ts';
import { Charon } from './charon.ts';
import type { Namespace } from './netns.ts';
import { addOuter6, HUB, makeNetwork, SPOKE } from './network.ts';

const UP_MS = 30_000;

export type Tunnel = {
  /** Of IP, outside and inside. */
  readonly version: 4 | 6;
  /** The tunnel's traffic: all between the hosts themselves, or between the networks behind them, or all traffic of the spoke. */
  readonly between: 'hosts' | 'sites' | 'spoke and all';
  /** ESP in UDP, as behind a NAT, or plain. */
  readonly encapsulated: boolean;
};

/** Name of the connection, and of its child; the namespaces begin with it. */
export const CONNECTION = 'lab';
export const HUB_ID = 'hub';
export const SPOKE_ID = 'spoke1';

export class Lab {
  readonly directory: string;
  readonly hub: Namespace;
  readonly spoke: Namespace;
  readonly hubCharon: Charon;
  spokeCharon: Charon;
  #lives = 1;

  private constructor(directory: string, hub: Namespace, spoke: Namespace, charons: readonly [Charon, Charon]) {
    this.directory = directory;
    this.hub = hub;
    this.spoke = spoke;
    [this.hubCharon, this.spokeCharon] = charons;
  }

  /** Brings both hosts up, without a tunnel. One lab at a time. */
  static async up(): Promise<Lab> {
    const directory = mkdtempSync(join(tmpdir(), 'dpd-lab-'));
    const { hub, spoke } = await makeNetwork(CONNECTION);
    const charons = await Promise.all([
      Charon.start(hub, join(directory, 'hub'), true),
      Charon.start(spoke, join(directory, 'spoke'), false),
    ]);
    return new Lab(directory, hub, spoke, charons);
  }

  /** The spoke brings a tunnel up; it is up at both ends on return. */
  async connect(tunnel: Tunnel): Promise<void> {
    await this.hubCharon.load(connection(tunnel, HUB, SPOKE, [HUB_ID, SPOKE_ID]));
    await this.spokeCharon.load(connection(tunnel, SPOKE, HUB, [SPOKE_ID, HUB_ID]));
    await this.spokeCharon.initiate(CONNECTION);
    await eventually('the tunnel stands at the hub', UP_MS, async () => {
      const [sa] = await this.hubCharon.sas();
      return sa?.established === true && sa.children.length === 1;
    });
  }

  /** The spoke takes the tunnel down; it is gone at both ends on return. */
  async disconnect(): Promise<void> {
    await this.spokeCharon.terminate(CONNECTION);
    await eventually('the tunnel is gone', UP_MS, async () => (await this.hubCharon.sas()).length === 0);
  }

  /** One host makes a new IKE SA in place of the present one; the hub has it on return. */
  async rekey(by = this.spokeCharon): Promise<void> {
    const before = (await this.hubCharon.sas())[0]!.spi;
    await by.rekey(CONNECTION);
    await eventually('the hub has the new SA, and no other', UP_MS, async () => {
      const sas = await this.hubCharon.sas();
      return sas.length === 1 && sas[0]!.spi !== before && sas[0]!.established;
    });
  }

  /** The spoke is dead, and says nothing: its daemon ended, its device down. */
  async killSpoke(): Promise<void> {
    await this.spoke.ip('link', 'set', SPOKE.device, 'down');
    await this.spokeCharon.kill();
  }

  /** The spoke is back, as after a power failure: it remembers nothing. */
  async reviveSpoke(): Promise<void> {
    await this.spoke.run('ip', 'xfrm', 'state', 'flush');
    await this.spoke.run('ip', 'xfrm', 'policy', 'flush');
    await this.spoke.ip('link', 'set', SPOKE.device, 'up');
    await addOuter6(this.spoke, SPOKE);
    this.spokeCharon = await Charon.start(this.spoke, join(this.directory, `spoke-${++this.#lives}`), false);
  }

  /** Pings the hub from the spoke, through the tunnel. Returns how many packets came back. */
  async ping({ version, between }: Tunnel, count: number): Promise<number> {
    const ends = between === 'sites' ? 'inner' : 'outer';
    const way = ['-I', SPOKE[ends][version], HUB[ends][version]];
    // ping fails if any were lost, but still prints how many.
    const said = await this.spoke
      .run('ping', '-q', '-c', String(count), '-i', '0.2', '-W', '2', ...way)
      .catch((error: { stdout?: string }) => error.stdout ?? '');
    return Number(/(\d+) received/.exec(said)?.[1] ?? 0);
  }

  /** Ends the daemons and removes the namespaces. Files end with the machine. */
  async down(): Promise<void> {
    await Promise.all([this.hubCharon.kill(), this.spokeCharon.kill()]);
    await this.hub.remove();
    await this.spoke.remove();
  }
}

/** One end of a tunnel, as vici wants it. The hub asks nothing itself. */
function connection(tunnel: Tunnel, here: typeof HUB, there: typeof HUB, ids: readonly [string, string]): ViciSection {
  const { version, between, encapsulated } = tunnel;
  const bits = version === 4 ? 32 : 128;
  const end = (place: typeof HUB) => {
    if (between === 'sites') return [`${place.inner[version]}/${bits}`];
    return between === 'spoke and all' && place === HUB ? [version === 4 ? '0.0.0.0/0' : '::/0'] : ['dynamic'];
  };
  return {
    [CONNECTION]: {
      version: '2',
      local_addrs: [here.outer[version]],
      remote_addrs: [there.outer[version]],
      encap: encapsulated ? 'yes' : 'no',
      mobike: 'no',
      dpd_delay: '0',
      rekey_time: '0',
      proposals: ['aes256gcm16-prfsha256-x25519'],
      local: { auth: 'psk', id: ids[0] },
      remote: { auth: 'psk', id: ids[1] },
      children: {
        [CONNECTION]: { local_ts: end(here), remote_ts: end(there), esp_proposals: ['aes256gcm16'], rekey_time: '0' },
      },
    },
  };
}
