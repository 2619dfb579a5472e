/**
 * Where the hub's kernel sends packets. What a node beside the hub sends gets its route before the rules make it the hub's own: where the
 * hub routes by its own address, as with several uplinks, it may leave by another uplink than the hub's own packets do, and canaries with it.
 */

import { execFile } from 'node:child_process';
import { isIPv6 } from 'node:net';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const ROUTE_MS = 5_000;

/**
 * Whether a probe leaves by the device that the hub's own packets leave by, from that address of the hub's to a spoke. True where the
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

/** By which device a packet leaves; undefined if there is no telling. */
async function deviceOf(to: string, ...how: readonly string[]): Promise<string | undefined> {
  try {
    const family = isIPv6(to) ? '-6' : '-4';
    const { stdout } = await execute('ip', ['-j', family, 'route', 'get', to, ...how], { timeout: ROUTE_MS });
    return (JSON.parse(stdout) as { dev?: string }[])[0]?.dev;
  } catch {
    return undefined;
  }
}
