/**
 * Where the hub's kernel sends packets. A packet of a node beside the hub is routed before the rules give it the hub's address. If the hub
 * routes by source address, as with several uplinks, probes and canaries may leave by another uplink than the hub's own packets.
 */

import { execFile } from 'node:child_process';
import { isIPv6 } from 'node:net';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const ROUTE_MS = 5_000;

/**
 * Known routes to canaries' targets. They are looked up at the first request, and again by {@link refresh}, because each look-up starts
 * processes.
 */
export class Routes {
  readonly #find: (local: string, spoke: string) => Promise<boolean>;
  readonly #changed: (local: string, spoke: string, asHubs: boolean) => void;
  /**
   * By the hub's address and target: whether probes leave as the hub's own packets, once known; and whether it was requested since the
   * last refresh.
   */
  readonly #known = new Map<string, { asHubs: boolean | undefined; asked: boolean }>();

  /**
   * @param find looks; see {@link leavesAsHubs}
   * @param changed a result is new or has changed
   */
  constructor(
    find: (local: string, spoke: string) => Promise<boolean>,
    changed: (local: string, spoke: string, asHubs: boolean) => void,
  ) {
    this.#find = find;
    this.#changed = changed;
  }

  /** Whether probes leave as the hub's own; false as long as that is not known. */
  leaveAsHubs(local: string, spoke: string): boolean {
    const key = `${local} ${spoke}`;
    const known = this.#known.get(key) ?? { asHubs: undefined, asked: true };
    known.asked = true;
    if (!this.#known.has(key)) {
      this.#known.set(key, known);
      void this.#look(key);
    }
    return known.asHubs === true;
  }

  /** Looks up again what was requested since the last time, and forgets the rest. */
  async refresh(): Promise<void> {
    for (const [key, known] of this.#known) {
      if (!known.asked) this.#known.delete(key);
      known.asked = false;
    }
    for (const key of [...this.#known.keys()]) await this.#look(key);
  }

  async #look(key: string): Promise<void> {
    const [local, spoke] = key.split(' ') as [string, string];
    const asHubs = await this.#find(local, spoke);
    const known = this.#known.get(key);
    if (!known || known.asHubs === asHubs) return;
    known.asHubs = asHubs;
    this.#changed(local, spoke, asHubs);
  }
}

/**
 * Whether a probe leaves by the device that the hub's own packets leave by, from that address of the hub's to a spoke. True if the
 * kernel cannot be asked.
 * @param node address of a node beside the hub; @param device the hub's towards it
 */
export async function leavesAsHubs(local: string, spoke: string, node: string, device: string): Promise<boolean> {
  const [own, probes] = await Promise.all([
    deviceOf(spoke, 'from', local),
    deviceOf(spoke, 'from', node, 'iif', device),
  ]);
  return own === undefined || probes === undefined || own === probes;
}

/** The device by which a packet leaves; undefined if not known. */
async function deviceOf(to: string, ...how: readonly string[]): Promise<string | undefined> {
  try {
    const family = isIPv6(to) ? '-6' : '-4';
    const { stdout } = await execute('ip', ['-j', family, 'route', 'get', to, ...how], { timeout: ROUTE_MS });
    return (JSON.parse(stdout) as { dev?: string }[])[0]?.dev;
  } catch {
    return undefined;
  }
}
