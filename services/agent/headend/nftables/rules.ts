/**
 * The hub's steering rules: what makes a shard's probes the hub's own and brings the replies back.
 *
 * One nftables table. A probe carries a false marker and leaves from the shard's port; the rule gives it the hub's
 * source and the true marker, so that a probe which misses the rule is not an IKE message for anyone. The source is
 * the hub's address that the spoke knows, from a map by the spoke's address and port: a hub has several. A canary takes
 * the same rules and is noted, as it leaves, in a set: what stands there left properly.
 */

import { execFile } from 'node:child_process';
import { endianness } from 'node:os';
import { EXCHANGE_INFORMATIONAL, FLAG_RESPONSE, GUARD_MARKER } from '../../../../workers/ikev2/header.ts';
import { CANARY_SPI } from '../../../../workers/path/canary.ts';
import type { ProbeSource } from '../headend.ts';

export const TABLE = 'dpd_offload';
const NFT_MS = 5_000;
/** How long the kernel remembers a canary, s. */
const CANARY_S = 10;

/** Where the node is. */
export type Steering =
  | { readonly kind: 'local' }
  | {
      readonly kind: 'remote';
      /** Address of a node that does not say its own, and the hub's interface towards all nodes. */
      readonly nodeAddress: string;
      readonly nodeInterface: string;
    };

/** What of the rules stands in the kernel. */
export type RulesStatus = { readonly outbound: boolean; readonly inbound: boolean };

/** nft is not there, or refused. */
export class SteeringError extends Error {
  override name = 'SteeringError';
}

/**
 * The rules as text for `nft -f`, replacing the table in one transaction.
 * Offsets count bits from the UDP header: marker 64, SPIi 96, SPIr 160, exchange type 240, flags 248.
 * @param probes where each shard probes from, by shard
 * @param sources the map's elements
 */
export function renderRules(
  steering: Steering,
  probes: readonly ProbeSource[],
  sources: readonly Source[] = [],
): string {
  const remote = steering.kind === 'remote' ? steering : undefined;
  // Only from where a shard is owned now: what a former owner still sends is not steered.
  const origins = new Set(
    probes.map(({ address, port }) => (remote ? `${address || remote.nodeAddress} . ${port}` : `${port}`)),
  );
  const from = `${remote ? 'ip saddr . udp sport' : 'udp sport'} { ${[...origins].join(', ')} }`;
  const guarded = `${from} @th,64,32 0x${GUARD_MARKER.toString(16)}`;
  const steer = 'ip saddr set ip daddr . udp dport map @sources udp sport set 4500 @th,64,32 set 0x0';
  const canary = [
    `udp sport 4500 @th,64,32 0x0 @th,96,32 0x${(CANARY_SPI >> 32n).toString(16)}`,
    `@th,128,32 0x${(CANARY_SPI & 0xffffffffn).toString(16)}`,
    'meta mark set @th,160,32 update @canaries { meta mark } drop',
  ].join(' ');
  const reply = [
    `udp dport 4500 @th,64,32 0x0 @th,240,8 0x${EXCHANGE_INFORMATIONAL.toString(16)}`,
    `@th,248,8 & 0x${FLAG_RESPONSE.toString(16)} == 0x${FLAG_RESPONSE.toString(16)}`,
  ].join(' ');
  const shard = `@th,216,8 & 0x${(probes.length - 1).toString(16)}`;
  const map = (value: (probe: ProbeSource) => string) =>
    `${shard} map { ${probes.map((probe, n) => `${n} : ${value(probe)}`).join(', ')} }`;
  const toPort = `udp dport set ${map(({ port }) => `${port}`)}`;
  const toNode = remote ? `ip daddr set ${map(({ address }) => address || remote.nodeAddress)}` : '';
  const elements = sources.length > 0 ? ` elements = { ${sources.map(sourceElement).join(', ')} }` : '';
  return [
    `add table ip ${TABLE}`,
    `delete table ip ${TABLE}`,
    `table ip ${TABLE} {`,
    `  set canaries { type mark; flags dynamic,timeout; timeout ${CANARY_S}s; }`,
    '  set passed { typeof @th,192,32; }',
    `  map sources { type ipv4_addr . inet_service : ipv4_addr;${elements} }`,
    ...(remote
      ? [
          '  chain probes_in {',
          '    type filter hook prerouting priority raw; policy accept;',
          `    iifname "${remote.nodeInterface}" ${guarded} notrack`,
          '  }',
        ]
      : []),
    '  chain probes_out {',
    // Behind routing: with the hub's own source before it, the packet would be dropped as martian.
    `    type filter hook ${remote ? 'postrouting' : 'output'} priority raw; policy accept;`,
    `    ${guarded} ${remote ? '' : 'notrack '}${steer}`,
    `    ${canary}`,
    '  }',
    // Whatever of ours the rules above did not take goes nowhere; the sender is told.
    '  chain strays {',
    '    type filter hook postrouting priority 300; policy accept;',
    `    ${guarded} counter drop`,
    '  }',
    '  chain replies_in {',
    '    type filter hook prerouting priority raw; policy accept;',
    `    ${reply} @th,192,32 @passed accept`,
    remote
      ? `    iifname != "${remote.nodeInterface}" ${reply} notrack ${toNode} ${toPort}`
      : `    ${reply} notrack ${toPort}`,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Which of its addresses the hub uses towards a spoke. */
export type Source = { readonly address: string; readonly port: number; readonly local: string };

function sourceElement({ address, port, local }: Source): string {
  return `${address} . ${port} : ${local}`;
}

/** Adds to the map of sources; elements that stand are left alone. */
export async function addSources(sources: readonly Source[]): Promise<void> {
  if (sources.length === 0) return;
  await nft(['-f', '-'], `add element ip ${TABLE} sources { ${sources.map(sourceElement).join(', ')} }\n`);
}

/** Takes from the map of sources. */
export async function removeSources(sources: readonly Source[]): Promise<void> {
  if (sources.length === 0) return;
  const keys = sources.map(({ address, port }) => `${address} . ${port}`).join(', ');
  await nft(['-f', '-'], `delete element ip ${TABLE} sources { ${keys} }\n`);
}

/** Installs the rules in place of those that stand. */
export async function installRules(
  steering: Steering,
  probes: readonly ProbeSource[],
  sources: readonly Source[],
): Promise<void> {
  await nft(['-f', '-'], renderRules(steering, probes, sources));
}

/** What of the rules stands. */
export async function readRules(): Promise<RulesStatus> {
  let listing: string;
  try {
    listing = await nft(['-t', 'list', 'table', 'ip', TABLE]);
  } catch (error) {
    if (error instanceof SteeringError && /No such file/.test(error.message))
      return { outbound: false, inbound: false };
    throw error;
  }
  return {
    outbound: /udp sport set 4500/.test(listing),
    inbound: /udp dport set @th,216,8/.test(listing),
  };
}

/** Removes the rules; only after probing has ended and late replies have had their time. */
export async function removeRules(): Promise<void> {
  await nft(['-f', '-'], `add table ip ${TABLE}\ndelete table ip ${TABLE}\n`);
}

/** Numbers of the canaries that left as the hub's own address and port lately. */
export async function readCanaries(): Promise<number[]> {
  const listing = await nft(['-j', 'list', 'set', 'ip', TABLE, 'canaries']);
  const { nftables } = JSON.parse(listing) as {
    nftables: { set?: { elem?: (number | { elem: { val: number } })[] } }[];
  };
  const elements = nftables.flatMap(({ set }) => set?.elem ?? []);
  return elements.map((element) => fromMark(typeof element === 'number' ? element : element.elem.val));
}

/** A mark is in the host's byte order, but was filled from the packet as it came. */
function fromMark(mark: number): number {
  if (endianness() === 'BE') return mark;
  return (((mark & 0xff) << 24) | ((mark & 0xff00) << 8) | ((mark >>> 8) & 0xff00) | (mark >>> 24)) >>> 0;
}

/** Lets charon have the replies for one SA, or no longer. `spiR`: the low 32 bits of the responder SPI. */
export async function passReplies(spiR: number, pass: boolean): Promise<void> {
  const verb = pass ? 'add' : 'delete';
  await nft([verb, 'element', 'ip', TABLE, 'passed', `{ 0x${spiR.toString(16)} }`]);
}

function nft(args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('nft', args, { timeout: NFT_MS, maxBuffer: 16 * 2 ** 20 }, (error, stdout, stderr) => {
      if (!error) resolve(stdout);
      else if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        reject(new SteeringError('nft is not installed: apt-get install nftables'));
      else reject(new SteeringError(`nft ${args[0]}: ${stderr.trim() || error.message}`));
    });
    // nft may end without reading: its exit code says so.
    child.stdin!.on('error', () => {});
    child.stdin!.end(input);
  });
}
