/**
 * A hub and two hosts of spokes in network namespaces of their own: those that live, and those that die together.
 *
 *   hub 192.0.2.1 -- 192.0.2.2 living 10.64.0.0/16
 *       198.51.100.1 -- 198.51.100.2 mortal 10.65.0.0/16
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from './daemon.ts';
import { Fleet, HUB_ADDRESS, openHub } from './fleet.ts';

const COMMAND_MS = 60_000;
const HOSTS = [
  { name: 'living', net: '10.64', hubAddress: HUB_ADDRESS, address: '192.0.2.2' },
  { name: 'mortal', net: '10.65', hubAddress: '198.51.100.1', address: '198.51.100.2' },
] as const;

/** Daemons with all their SAs up. */
export type Running = {
  readonly hub: Daemon;
  readonly living: Fleet;
  readonly mortal: Fleet;
  readonly spokes: readonly Daemon[];
};

type RunOptions = {
  readonly dpdS: number;
  readonly ha: boolean;
  readonly hubUp?: (hub: Daemon) => Promise<void>;
};

export class HubLab {
  readonly directory = mkdtempSync(join(tmpdir(), 'dpd-hub-'));
  readonly #tag = `dpdhub${process.pid}`;
  readonly #sizes: Record<(typeof HOSTS)[number]['name'], number>;
  #daemons: Daemon[] = [];

  /** Makes the namespaces. */
  constructor(sizes: { readonly living: number; readonly mortal: number }) {
    this.#sizes = sizes;
    try {
      this.#network();
    } catch (error) {
      this.down();
      throw error;
    }
  }

  /** Namespace of a host. */
  ns(host: string): string {
    return `${this.#tag}-${host}`;
  }

  /**
   * Starts all daemons afresh and brings all SAs up.
   * @param dpdS the hub's own DPD, s; 0: off @param ha see Daemon @param hubUp begins when the hub takes SAs; it and they go on together
   */
  async run({ dpdS, ha, hubUp }: RunOptions): Promise<Running> {
    await this.stop();
    const start = async (host: string, options?: { ha: boolean }) => {
      const daemon = await Daemon.start(this.ns(host), join(this.directory, host), options);
      this.#daemons.push(daemon);
      return daemon;
    };
    const hub = await start('hub', { ha });
    await openHub(hub, dpdS);
    const begun = hubUp?.(hub);
    begun?.catch(() => {});
    const spokes: Daemon[] = [];
    const fleets: Fleet[] = [];
    for (const { name, net } of HOSTS) {
      const daemon = await start(name);
      const fleet = new Fleet(daemon, name, net, this.#sizes[name]);
      await fleet.up();
      spokes.push(daemon);
      fleets.push(fleet);
    }
    await begun;
    return { hub, living: fleets[0]!, mortal: fleets[1]!, spokes };
  }

  /** Ends the daemons. */
  async stop(): Promise<void> {
    for (const daemon of this.#daemons) await daemon.stop();
    this.#daemons = [];
  }

  /** Ends whatever runs in the namespaces, and removes them: at once, as there may be no time for more. */
  down(): void {
    const made = ip('netns', 'list');
    for (const host of ['hub', ...HOSTS.map(({ name }) => name)].map((name) => this.ns(name))) {
      if (!made.includes(host)) continue;
      for (const pid of ip('netns', 'pids', host).split('\n').filter(Boolean)) end(Number(pid));
      ip('netns', 'del', host);
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  #network(): void {
    const hub = this.ns('hub');
    ip('netns', 'add', hub);
    ip('-n', hub, 'link', 'set', 'lo', 'up');
    for (const [n, { name, net, hubAddress, address }] of HOSTS.entries()) {
      const own = this.ns(name);
      ip('netns', 'add', own);
      ip('link', 'add', `dpd-h${n}`, 'netns', hub, 'type', 'veth', 'peer', 'dpd-s', 'netns', own);
      const spokes = Fleet.addresses(net, this.#sizes[name]).map((spoke) => `addr add ${spoke}/32 dev dpd-s\n`);
      batch(own, [
        'link set lo up\n',
        `addr add ${address}/24 dev dpd-s\n`,
        ...spokes,
        'link set dpd-s up\n',
        `route add default via ${hubAddress}\n`,
      ]);
      batch(hub, [
        `addr add ${hubAddress}/24 dev dpd-h${n}\n`,
        `link set dpd-h${n} up\n`,
        `route add ${net}.0.0/16 via ${address}\n`,
      ]);
    }
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function ip(...args: string[]): string {
  return execFileSync('ip', args, { timeout: COMMAND_MS, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function batch(namespace: string, commands: readonly string[]): void {
  execFileSync('ip', ['-n', namespace, '-batch', '-'], {
    input: commands.join(''),
    timeout: COMMAND_MS,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
}
