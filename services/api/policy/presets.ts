/**
 * The field's settings by name: what each vendor documents as default, and the range that it allows. Times in ms. Where a document
 * is silent, the comment says "not documented", and the value is ours.
 */

import { Mode } from '../../../proto/gen/dpd/v1/types_pb.js';

type Range = { readonly min: number; readonly max: number };

/** The members that a preset gives. A peer is dead at last evidence + interval + all waits. */
export type PresetPolicy = {
  readonly mode: Mode;
  readonly intervalMs: number;
  readonly retryIntervalMs?: number;
  readonly retries?: number;
  readonly retryFactorPercent?: number;
  readonly retryScheduleMs?: readonly number[];
};

export type Preset = {
  readonly policy: PresetPolicy;
  /** What the vendor lets one set, by our name; nothing: it is fixed, or no range is documented. */
  readonly ranges: { readonly intervalMs?: Range; readonly retryIntervalMs?: Range; readonly retries?: Range };
};

const seconds = (min: number, max: number): Range => ({ min: min * 1_000, max: max * 1_000 });

/** Cisco, "IPsec Dead Peer Detection Periodic Message Option": crypto isakmp keepalive SECONDS [RETRY] [periodic | on-demand]. */
const IOS = {
  // SECONDS 10 to 3,600, no default; RETRY 2 to 60, default 2. One R-U-THERE and four retransmissions, then both SAs are deleted.
  times: { intervalMs: 10_000, retryIntervalMs: 2_000, retries: 5 },
  ranges: { intervalMs: seconds(10, 3_600), retryIntervalMs: seconds(2, 60) },
};

/** Juniper, Junos CLI reference, dead-peer-detection: interval 2 to 60 s, default 10; threshold 1 to 5, default 5. */
const JUNOS = {
  // How far requests are apart: not documented; the interval.
  times: { intervalMs: 10_000, retryIntervalMs: 10_000, retries: 5 },
  ranges: { intervalMs: seconds(2, 60), retries: { min: 1, max: 5 } },
};

/**
 * Fortinet, technical tips "IKEv2 retransmission and DPD" (294932: 3 + 6 + 12 + 24 + 48 s, not configurable) and "Explanation of IPsec VPN
 * DPD options" (260424: on-demand is the default; asked after dpd-retryinterval without a packet). dpd-retryinterval's default is 20 s.
 */
const FORTIOS = { intervalMs: 20_000, retryScheduleMs: [3_000, 6_000, 12_000, 24_000, 48_000] };

export const PRESETS = {
  'cisco-ios-periodic': { policy: { mode: Mode.PERIODIC, ...IOS.times }, ranges: IOS.ranges },
  // The default of the command.
  'cisco-ios-on-demand': { policy: { mode: Mode.ON_DEMAND, ...IOS.times }, ranges: IOS.ranges },
  // Cisco IOS keepalives, before DPD: one hello each interval, dead after three are missed. See docs/decisions/0034-heartbeat.md.
  'cisco-ios-keepalive': {
    policy: { mode: Mode.PERIODIC, intervalMs: 10_000, retryIntervalMs: 10_000, retries: 2 },
    ranges: { intervalMs: seconds(10, 3_600) },
  },
  // Cisco, IKEv2 command reference: crypto ikev2 dpd INTERVAL RETRY {on-demand | periodic}, no defaults. How many retransmissions: not
  // documented there; five messages, as for IKEv1.
  'cisco-ikev2': { policy: { mode: Mode.ON_DEMAND, ...IOS.times }, ranges: IOS.ranges },
  // Cisco ASA, tunnel-group ipsec-attributes: isakmp keepalive threshold 10 (10 to 3,600) retry 2 (2 to 10), DefaultL2LGroup. Asked when the
  // peer is idle. Three retransmissions: not in the command reference, but widely reported.
  'cisco-asa': {
    policy: { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 2_000, retries: 4 },
    ranges: { intervalMs: seconds(10, 3_600), retryIntervalMs: seconds(2, 10) },
  },
  // The default: asked if nothing came in for an interval after something was sent.
  'junos-optimized': { policy: { mode: Mode.ON_DEMAND, ...JUNOS.times }, ranges: JUNOS.ranges },
  'junos-probe-idle-tunnel': { policy: { mode: Mode.ON_IDLE, ...JUNOS.times }, ranges: JUNOS.ranges },
  'junos-always-send': { policy: { mode: Mode.PERIODIC, ...JUNOS.times }, ranges: JUNOS.ranges },
  'fortios-on-idle': { policy: { mode: Mode.ON_IDLE, ...FORTIOS }, ranges: {} },
  'fortios-on-demand': { policy: { mode: Mode.ON_DEMAND, ...FORTIOS }, ranges: {} },
  // Palo Alto Networks, IKE gateway, advanced options: interval and retry 2 to 100 s, default 5. How many requests: not documented; five.
  'panos-ikev1-dpd': {
    policy: { mode: Mode.ON_IDLE, intervalMs: 5_000, retryIntervalMs: 5_000, retries: 5 },
    // 60 s is the longest fixed wait here; a list takes the rest.
    ranges: { intervalMs: seconds(2, 100), retryIntervalMs: seconds(2, 60) },
  },
  // Palo Alto Networks, PAN-OS 11.0 administrator's guide, "Liveness Check": every 5 s (2 to 100) when idle; then ten messages with 5 + 10 +
  // 20 + 40 + 6 x 60 s = 7 min 15 s.
  'panos-ikev2-liveness': {
    policy: {
      mode: Mode.ON_IDLE,
      intervalMs: 5_000,
      retryScheduleMs: [5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000, 60_000, 60_000, 60_000],
    },
    ranges: { intervalMs: seconds(2, 100) },
  },
  // strongSwan, "Retransmission": 4 s x 1.8^(n-1), five retransmissions, gives up after 165 s. dpd_delay is off by default in swanctl.conf;
  // 30 s is the default of ipsec.conf's dpddelay.
  strongswan: {
    policy: { mode: Mode.ON_IDLE, intervalMs: 30_000, retryIntervalMs: 4_000, retries: 6, retryFactorPercent: 180 },
    ranges: {},
  },
  // Libreswan, ipsec.conf(5): retransmit-interval 500 ms, doubled each time; retransmit-timeout 60 s, after which the SA is dead. dpddelay is
  // off by default; the 30 s are ours.
  libreswan: {
    policy: {
      mode: Mode.ON_IDLE,
      intervalMs: 30_000,
      retryScheduleMs: [500, 1_000, 2_000, 4_000, 8_000, 16_000, 28_500],
    },
    ranges: {},
  },
  // Sophos Firewall, IPsec profiles: check peer after every 30 s, wait for response up to 120 s. How often it asks meanwhile: not documented;
  // every 30 s.
  sophos: { policy: { mode: Mode.ON_IDLE, intervalMs: 30_000, retryIntervalMs: 30_000, retries: 4 }, ranges: {} },
  // AWS Site-to-Site VPN: a message after 10 s without traffic; dead when three in a row are not answered. DPD timeout 40 s by default, that is
  // 30 s after the first failure.
  aws: { policy: { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 10_000, retries: 3 }, ranges: {} },
  // Azure VPN Gateway: DPD timeout 45 s by default, 9 to 3,600. When it asks: not documented; every 15 s, so that the third silence is the
  // timeout.
  azure: { policy: { mode: Mode.ON_IDLE, intervalMs: 15_000, retryIntervalMs: 15_000, retries: 2 }, ranges: {} },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;

/** All names, for errors. */
export const PRESET_NAMES = Object.keys(PRESETS) as PresetName[];

/** The preset of this name; undefined if there is none. */
export function findPreset(name: string): Preset | undefined {
  return Object.hasOwn(PRESETS, name) ? PRESETS[name as PresetName] : undefined;
}
