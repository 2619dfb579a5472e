/**
 * A hub and a spoke, joined by a pair of devices:
 *
 *   hub    192.0.2.1   2001:db8::1    inner 10.1.0.1  fd00:1::1   device `to-spoke`
 *   spoke  192.0.2.10  2001:db8::10   inner 10.2.0.1  fd00:2::1   device `to-hub`
 *   node   10.9.0.2, behind the hub's device `to-node`, when asked for
 */

import { Namespace } from './netns.ts';

/** Addresses of a host, by IP version. */
type Place = {
  readonly device: string;
  readonly outer: Readonly<Record<4 | 6, string>>;
  readonly inner: Readonly<Record<4 | 6, string>>;
};

export const HUB: Place = {
  device: 'to-spoke',
  outer: { 4: '192.0.2.1', 6: '2001:db8::1' },
  inner: { 4: '10.1.0.1', 6: 'fd00:1::1' },
};
export const SPOKE: Place = {
  device: 'to-hub',
  outer: { 4: '192.0.2.10', 6: '2001:db8::10' },
  inner: { 4: '10.2.0.1', 6: 'fd00:2::1' },
};

/** A host beside the hub. */
export const NODE = { address: '10.9.0.2', device: 'to-node' } as const;
const HUB_TO_NODE = '10.9.0.1';

/** Makes the hosts' namespaces, which must not be there yet. */
export async function makeNetwork(tag: string): Promise<{ hub: Namespace; spoke: Namespace }> {
  const hub = await Namespace.make(`${tag}-hub`);
  const spoke = await Namespace.make(`${tag}-spoke`);
  await hub.ip('link', 'add', HUB.device, 'type', 'veth', 'peer', 'name', SPOKE.device, 'netns', spoke.name);
  for (const [host, place] of [
    [hub, HUB],
    [spoke, SPOKE],
  ] as const) {
    await host.ip('addr', 'add', `${place.outer[4]}/24`, 'dev', place.device);
    await addOuter6(host, place);
    await host.ip('link', 'set', place.device, 'up');
    await host.ip('addr', 'add', `${place.inner[4]}/32`, 'dev', 'lo');
    await host.ip('addr', 'add', `${place.inner[6]}/128`, 'dev', 'lo', 'nodad');
  }
  return { hub, spoke };
}

/** A device that goes down loses its address. No other host can have it, so it is valid at once. */
export async function addOuter6(host: Namespace, { device, outer }: Place): Promise<void> {
  await host.ip('addr', 'add', `${outer[6]}/64`, 'dev', device, 'nodad');
}

/** Adds a host beside the hub, which sends on what comes from there. */
export async function addNodeHost(tag: string, hub: Namespace): Promise<Namespace> {
  const node = await Namespace.make(`${tag}-node`);
  await hub.ip('link', 'add', NODE.device, 'type', 'veth', 'peer', 'name', 'to-hub', 'netns', node.name);
  await hub.ip('addr', 'add', `${HUB_TO_NODE}/24`, 'dev', NODE.device);
  await hub.ip('link', 'set', NODE.device, 'up');
  await node.ip('addr', 'add', `${NODE.address}/24`, 'dev', 'to-hub');
  await node.ip('link', 'set', 'to-hub', 'up');
  await node.ip('route', 'add', 'default', 'via', HUB_TO_NODE);
  await hub.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  return node;
}

/** From now on so much of what leaves by a device is lost, %. */
export async function lose(host: Namespace, device: string, percent: number): Promise<void> {
  await host.run('tc', 'qdisc', 'replace', 'dev', device, 'root', 'netem', 'loss', `${percent}%`);
}

/** Packets that netem has dropped on a device. */
export async function lost(host: Namespace, device: string): Promise<number> {
  const statistics = await host.run('tc', '-s', 'qdisc', 'show', 'dev', device);
  return Number(/dropped (\d+)/.exec(statistics)?.[1] ?? 0);
}
