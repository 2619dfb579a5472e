/**
 * The hub's steering rules as text for nft: they make a shard's probes the hub's own, and bring packets for a shard to it.
 *
 * What a shard sends is no IKE message (ikev2/header.ts) but an order: from which of the hub's ends it is to leave, or that it is for
 * the hub's own daemon; a rule gives it source and true form, so that a packet which misses the rule is no IKE message for any
 * receiver. The shard receives the answers on SAs in care, the daemon's own requests on parked SAs, and the shard's own canaries:
 * those sent out are turned around at the very end of the way out, those "from the spoke" take the way of answers.
 *
 * Rules that bring answers stand behind the hub's firewall, which sees the port that the spoke sent to. Data packets leave every chain
 * after its first few comparisons.
 */

import { isIPv4, isIPv6 } from 'node:net';
import { always } from '../../../../workers/base/always.ts';
import { falseMarker, MAX_BARE_INDEX, orderToDaemon, orderToSpoke } from '../../../../workers/ikev2/header.ts';
import { MAX_WAYS } from '../../../../workers/liveness/interlock.ts';
import { CANARY_INTERVAL_MS } from '../../../../workers/path/canary.ts';
import type { ProbeSource } from '../headend.ts';
import { parseEnd } from './end.ts';
import { Framing, hex } from './framing.ts';

export const TABLE = 'dpd_offload';
/** Comments by which rules are known again. */
const INBOUND = 'answers come to their shard';
const WAY = /^way (\d+): (.+)$/;
/**
 * High bits that every SPI of a data packet has, and none of our markers: Linux and charon give SPIs from 0xc0000000 on.
 */
const DATA_MASK = 0xff000000;
always((falseMarker(orderToDaemon(MAX_WAYS)) & DATA_MASK) === 0, 'markers are told from SPIs');
always(MAX_WAYS - 1 <= MAX_BARE_INDEX, 'every way can be named without a marker');
/** Shards at most, and how long after its last canary a shard counts as alive, s. */
const MOST_SHARDS = 256;
const ALIVE_S = 3;
always(2 * CANARY_INTERVAL_MS < ALIVE_S * 1_000, 'a canary may get lost');
/** Mark on packets that are handed to the daemon, so that they do not come back. */
const HANDED_OVER = 0x64706421;

/** Where the node is. */
export type Steering =
  | { readonly kind: 'local' }
  | {
      readonly kind: 'remote';
      /** Addresses of a node that does not say its own, and the hub's interface towards all nodes; without the second no IPv6. */
      readonly nodeAddress: string;
      readonly nodeAddress6: string;
      readonly nodeInterface: string;
    };

/** The nodes are on hosts beside the hub. */
export type Beside = Extract<Steering, { kind: 'remote' }>;

/** nft's name of a family, which is also that of its header; and how it is written. */
const FAMILIES = [
  { ip: 'ip', isOf: isIPv4, loopback: '127.0.0.1' },
  { ip: 'ip6', isOf: isIPv6, loopback: '::1' },
] as const;
type Family = (typeof FAMILIES)[number];

export type RuleSet = {
  readonly steering: Steering;
  /**
   * Where each shard probes from; their number is a power of two. Only packets from there are steered, not those that a former owner
   * still sends.
   */
  readonly probes: readonly ProbeSource[];
  /** The hub's ends by the number that orders name; see end.ts. */
  readonly ways: readonly string[];
  /** Low words of the responder SPIs of SAs in care, and the shards' numbers, which canaries "from the spoke" have there. */
  readonly care: Iterable<number>;
};

/** Which of the rules the kernel has. */
export type RulesStatus = { readonly inbound: boolean; readonly ways: readonly string[] };

const { marked, bare } = Framing;
const DATA = `@th,64,32 & ${hex(DATA_MASK)} != 0x0 accept`;

/**
 * The tables as text for `nft -f`, one for each family of the ways; they replace the present ones in one transaction.
 */
export function renderRules(rules: RuleSet): string {
  const { steering, care } = rules;
  const elements = Array.from(care, hex);
  const families = familiesOf(rules.ways);
  return [
    removal(families.map(({ ip }) => ip)),
    ...families.flatMap((family) => [
      `table ${family.ip} ${TABLE} {`,
      `  set care { typeof @th,192,32;${elements.length > 0 ? ` elements = { ${elements.join(', ')} }` : ''} }`,
      `  set alive { typeof @th,192,32; size ${MOST_SHARDS}; flags dynamic,timeout; timeout ${ALIVE_S}s; }`,
      ...(steering.kind === 'local' ? localChains(family, rules) : remoteChains(family, rules, steering)),
      '}',
    ]),
    '',
  ].join('\n');
}

/** Text that removes the tables, whether they exist or not. On a kernel without IPv6 tables of IPv6 are not named. */
export function removal(families: readonly string[]): string {
  return families.map((ip) => `add table ${ip} ${TABLE}\ndelete table ${ip} ${TABLE}\n`).join('');
}

/** Text that adds SAs to those in care, or removes them: one line, one transaction. */
export function careChange(verb: 'add' | 'delete', ways: readonly string[], spis: readonly number[]): string {
  return familiesOf(ways)
    .map(({ ip }) => `${verb} element ${ip} ${TABLE} care { ${spis.join(', ')} }`)
    .join('; ');
}

/** IPv4's table always exists: it shows that rules are installed. */
function familiesOf(ways: readonly string[]): Family[] {
  return FAMILIES.filter(({ ip, isOf }) => ip === 'ip' || ways.some((name) => isOf(parseEnd(name).address)));
}

/** Where a node beside the hub probes from, by IPv4 or IPv6; empty: not by this family. */
export function nodeAddressOf(
  { address, address6 }: Pick<ProbeSource, 'address' | 'address6'>,
  { nodeAddress, nodeAddress6 }: Beside,
  ip: Family['ip'],
): string {
  return ip === 'ip' ? address || nodeAddress : address6 || nodeAddress6;
}

/** A way with its number among all. */
type NumberedWay = { readonly n: number; readonly name: string; readonly address: string; readonly framing: Framing };

/** Those of a family, with IKE on the framing's port. */
function waysOf({ isOf }: Family, framing: Framing, ways: readonly string[]): NumberedWay[] {
  return ways.flatMap((name, n) => {
    const { address, port } = parseEnd(name);
    return framing.port === port && isOf(address) ? { n, name, address, framing } : [];
  });
}

function chain(name: string, hook: string | undefined, lines: readonly string[]): string[] {
  const head = hook === undefined ? [] : [`    ${hook}; policy accept;`];
  return [`  chain ${name} {`, ...head, ...lines.map((line) => `    ${line}`), '  }'];
}

/** The node is on the hub. */
function localChains(family: Family, { probes, ways }: RuleSet): string[] {
  const { ip, loopback } = family;
  const ports = `{ ${[...new Set(probes.map(({ port }) => port))].join(', ')} }`;
  const toShard = (framing: Framing) => `udp dport set ${byShard(framing, probes, ({ port }) => `${port}`)}`;
  const home = (framing: Framing) => `${ip} daddr set ${loopback} ${toShard(framing)}`;
  const out = (framing: Framing) => [
    `${daemons(framing)} ${home(framing)} accept`,
    `udp sport != ${ports} accept`,
    ...waysOf(family, framing, ways).map((way) => `${probe(way)} ${leave(ip, way)} accept ${commentOf(way)}`),
    ...waysOf(family, framing, ways).flatMap((way) => handOver(ip, way)),
  ];
  return [
    // One entry of connection tracking for each spoke would be too many.
    ...chain('untracked', 'type filter hook output priority raw', [`udp sport ${ports} notrack`]),
    ...chain('bare', undefined, out(bare)),
    ...chain('out', 'type route hook output priority mangle', [
      'meta l4proto != udp accept',
      `udp dport ${bare.port} jump bare`,
      DATA,
      ...out(marked),
    ]),
    // Behind the hub's firewall: a canary that the firewall drops, or IPsec takes, does not come home.
    ...chain(
      'home',
      'type route hook output priority 300',
      [marked, bare].flatMap((framing) => [
        `${canaryOut(framing)} ${framing.noteAlive}`,
        `${canaryOut(framing)} ${home(framing)}`,
      ]),
    ),
    ...chain('strays', 'type filter hook postrouting priority 300', [
      markedStray(`udp sport ${ports}`),
      bareStray(`udp sport ${ports}`),
    ]),
    ...chain('answers', 'type filter hook input priority 300', [
      `udp dport != { ${bare.port}, ${marked.port} } accept`,
      ...[marked, bare].flatMap((framing) => [
        `${answers(framing)} ${toShard(framing)} comment "${INBOUND}"`,
        `${informationals(framing, probes.length)} ${toShard(framing)}`,
      ]),
    ]),
  ];
}

/** The nodes are on hosts beside the hub. */
function remoteChains(family: Family, { probes, ways }: RuleSet, steering: Beside): string[] {
  const { ip } = family;
  const node = (source: ProbeSource) => nodeAddressOf(source, steering, ip);
  const from = `${ip} saddr . udp sport { ${[...new Set(probes.map((at) => `${node(at)} . ${at.port}`))].join(', ')} }`;
  const device = `"${steering.nodeInterface}"`;
  const toShard = (framing: Framing) =>
    `${ip} daddr set ${byShard(framing, probes, node)} udp dport set ${byShard(framing, probes, ({ port }) => `${port}`)}`;
  const handOvers = (framing: Framing) =>
    waysOf(family, framing, ways)
      .flatMap((way) => handOver(ip, way))
      .map((rule) => `iifname ${device} ${from} ${rule}`);
  const departures = (framing: Framing) =>
    waysOf(family, framing, ways).map((way) => `${from} ${probe(way)} ${leave(ip, way)} ${commentOf(way)}`);
  const turns = (framing: Framing) =>
    probes.map((at, n) => {
      const back = `${ip} daddr set ${node(at)} udp dport set ${at.port} dup to ${node(at)} device ${device} drop`;
      return `${framing.shardBits(probes.length)} == ${n} ${back}`;
    });
  return [
    ...chain('arrivals_bare', undefined, handOvers(bare)),
    ...chain('arrivals', 'type filter hook prerouting priority raw', [
      'meta l4proto != udp accept',
      `iifname ${device} udp dport ${bare.port} ${from} notrack jump arrivals_bare`,
      `${answers(bare)} notrack ${toShard(bare)} comment "${INBOUND}"`,
      `${informationals(bare, probes.length)} notrack ${toShard(bare)}`,
      DATA,
      `iifname ${device} ${from} notrack`,
      ...handOvers(marked),
      `${answers(marked)} notrack ${toShard(marked)} comment "${INBOUND}"`,
      `${informationals(marked, probes.length)} notrack ${toShard(marked)}`,
    ]),
    ...chain('out', 'type route hook output priority mangle', [
      'meta l4proto != udp accept',
      `${daemons(bare)} ${toShard(bare)}`,
      DATA,
      `${daemons(marked)} ${toShard(marked)}`,
    ]),
    // Behind routing: with the hub's own source before it, the packet would be dropped as martian.
    ...chain('departures_bare', undefined, departures(bare)),
    ...chain('departures', 'type filter hook postrouting priority raw', [
      'meta l4proto != udp accept',
      `udp dport ${bare.port} jump departures_bare`,
      DATA,
      ...departures(marked),
    ]),
    // Every packet that the hub forwards passes here, so few comparisons must be enough for it.
    ...chain('home_bare', undefined, [bare.noteAlive, ...turns(bare)]),
    ...chain('home_marked', undefined, [marked.noteAlive, ...turns(marked)]),
    ...chain('home', 'type filter hook postrouting priority 300', [
      'meta l4proto != udp accept',
      `oifname != ${device} ${canaryOut(bare)} jump home_bare`,
      bareStray(from),
      DATA,
      `oifname != ${device} ${canaryOut(marked)} jump home_marked`,
      markedStray(from),
    ]),
  ];
}

/** A shard's packet that must leave by a way; but not if IPsec would carry it. */
function probe({ n, framing }: NumberedWay): string {
  return `${framing.ordered(orderToSpoke(n)).match} rt ipsec missing`;
}

function leave(ip: Family['ip'], { n, address, framing }: NumberedWay): string {
  return `${ip} saddr set ${address} udp sport set ${framing.port} ${framing.ordered(orderToSpoke(n)).makeGood}`;
}

/** Comment that identifies the rule. */
function commentOf({ n, name }: NumberedWay): string {
  return `comment "way ${n}: ${name}"`;
}

/** Packets for the daemon reach it as if its spoke had sent them; a canary takes the way of answers. */
function handOver(ip: Family['ip'], { n, address, framing }: NumberedWay): string[] {
  const { match, makeGood } = framing.ordered(orderToDaemon(n));
  const fromSpoke = `${ip} saddr set ${ip} daddr udp sport set udp dport`;
  const toDaemon = `${fromSpoke} ${ip} daddr set ${address} udp dport set ${framing.port} ${makeGood}`;
  return [`${match} ${framing.noCanary} meta mark set ${hex(HANDED_OVER)}`, `${match} ${toDaemon}`];
}

/** Packets that come to the hub and are for a shard. */
function answers(framing: Framing): string {
  return `${framing.is('dport')} meta mark != ${hex(HANDED_OVER)} ${framing.answer}`;
}

/**
 * IKEv1's Informationals for a shard: only under encryption do answers to it differ from what is for the daemon, to which it hands that on.
 * Without a shard that lives the daemon gets all of them itself.
 */
function informationals(framing: Framing, shards: number): string {
  return `${framing.is('dport')} meta mark != ${hex(HANDED_OVER)} ${framing.informationalV1(shards)}`;
}

/** A request that the daemon sends on a parked SA. */
function daemons(framing: Framing): string {
  return `${framing.is('sport')} ${framing.request} ${framing.parkedId}`;
}

/** A canary on its way out, in the shape of a probe that leaves; not if IPsec would carry it. */
function canaryOut(framing: Framing): string {
  return `${framing.is('sport')} ${framing.canary} ${framing.request} rt ipsec missing`;
}

/** A packet of ours that no rule took is rejected; its sender gets an error. */
function markedStray(from: string): string {
  return `${from} @th,64,32 & ${hex(DATA_MASK)} == 0x0 @th,64,32 != 0x0 counter drop`;
}

function bareStray(from: string): string {
  return `${from} udp dport ${bare.port} counter drop`;
}

function byShard(framing: Framing, probes: readonly ProbeSource[], value: (probe: ProbeSource) => string): string {
  return `${framing.shardBits(probes.length)} map { ${probes.map((at, n) => `${n} : ${value(at)}`).join(', ')} }`;
}

/** The installed rules, from the output of `nft -j list table` for each table (libnftables-json(5)). */
export function readStatus(...listings: readonly string[]): RulesStatus {
  const comments = listings.map((listing) => {
    const { nftables } = JSON.parse(listing) as { nftables: { rule?: { comment?: string } }[] };
    return nftables.flatMap(({ rule }) => rule?.comment ?? []);
  });
  const ways: string[] = [];
  for (const comment of comments.flat()) {
    const [, n, local] = WAY.exec(comment) ?? [];
    if (n !== undefined) ways[Number(n)] = local!;
  }
  // One for each framing.
  const inbound = (ofTable: readonly string[]) => ofTable.filter((comment) => comment === INBOUND).length === 2;
  return { inbound: comments.length > 0 && comments.every(inbound), ways };
}
