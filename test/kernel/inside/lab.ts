/** A hub with a stock strongSwan and a spoke, on the kernel's own ESP, and tunnels between them. */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../../eventually.ts';
import { Charon } from './daemons/charon.ts';
import { charonConnection } from './daemons/charon-connection.ts';
import { charonSpoke } from './daemons/charon-spoke.ts';
import type { SpokeDaemon, StartSpoke } from './daemons/spoke.ts';
import type { Namespace } from './netns.ts';
import { addOuter6, HUB, makeNetwork, SPOKE } from './network.ts';
import { CONNECTION, HUB_ID, SPOKE_ID, type Tunnel } from './tunnel.ts';

const UP_MS = 30_000;

export class Lab {
  readonly directory: string;
  readonly hub: Namespace;
  readonly spoke: Namespace;
  readonly hubCharon: Charon;
  readonly #startSpoke: StartSpoke;
  #daemon: SpokeDaemon;
  #lives = 1;

  private constructor(
    directory: string,
    [hub, spoke]: readonly [Namespace, Namespace],
    hubCharon: Charon,
    startSpoke: StartSpoke,
    daemon: SpokeDaemon,
  ) {
    this.directory = directory;
    this.hub = hub;
    this.spoke = spoke;
    this.hubCharon = hubCharon;
    this.#startSpoke = startSpoke;
    this.#daemon = daemon;
  }

  /** Brings both hosts up, without a tunnel. One lab at a time. */
  static async up(startSpoke: StartSpoke = charonSpoke): Promise<Lab> {
    const directory = mkdtempSync(join(tmpdir(), 'dpd-lab-'));
    const { hub, spoke } = await makeNetwork(CONNECTION);
    const [charon, daemon] = await Promise.all([
      Charon.start(hub, join(directory, 'hub'), true),
      startSpoke(spoke, join(directory, 'spoke')),
    ]);
    return new Lab(directory, [hub, spoke], charon, startSpoke, daemon);
  }

  /** The spoke brings a tunnel up; it is up at both ends on return. */
  async connect(tunnel: Tunnel): Promise<void> {
    await this.hubCharon.load(charonConnection(tunnel, HUB, SPOKE, [HUB_ID, SPOKE_ID]));
    await this.#daemon.load(tunnel);
    await this.#daemon.initiate();
    await eventually('the tunnel stands at the hub', UP_MS, async () => {
      const [sa] = await this.hubCharon.sas();
      return sa?.established === true && sa.children.length === 1;
    });
  }

  /** The spoke takes the tunnel down; it is gone at both ends on return. */
  async disconnect(): Promise<void> {
    await this.#daemon.terminate();
    await eventually('the tunnel is gone', UP_MS, async () => (await this.hubCharon.sas()).length === 0);
  }

  /** One host makes a new IKE SA in place of the present one; the hub has it on return. */
  async rekey(by: 'hub' | 'spoke'): Promise<void> {
    const before = (await this.hubCharon.sas())[0]!.spi;
    await (by === 'hub' ? this.hubCharon.rekey(CONNECTION) : this.#daemon.rekey());
    await eventually('the hub has the new SA, and no other', UP_MS, async () => {
      const sas = await this.hubCharon.sas();
      return sas.length === 1 && sas[0]!.spi !== before && sas[0]!.established;
    });
  }

  /** The spoke is dead, and says nothing: its daemon ended, its device down. */
  async killSpoke(): Promise<void> {
    await this.spoke.ip('link', 'set', SPOKE.device, 'down');
    await this.#daemon.kill();
  }

  /** The spoke is back, as after a power failure: it remembers nothing. */
  async reviveSpoke(): Promise<void> {
    await this.spoke.run('ip', 'xfrm', 'state', 'flush');
    await this.spoke.run('ip', 'xfrm', 'policy', 'flush');
    await this.spoke.ip('link', 'set', SPOKE.device, 'up');
    await addOuter6(this.spoke, SPOKE);
    this.#daemon = await this.#startSpoke(this.spoke, join(this.directory, `spoke-${++this.#lives}`));
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
    await Promise.all([this.hubCharon.kill(), this.#daemon.kill()]);
    await this.hub.remove();
    await this.spoke.remove();
  }
}
