/**
 * A fleet of simulated spokes, the same on both sides of the wire from one seed: SPIs, keys, suites and addresses.
 * A spoke has two endpoints and one life on each: life 1 is the SA after its failover.
 */

import { createHash } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { DpdSupport, type Sa, SaKeysSchema, SaSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { spiPair } from '../../services/api/spi.ts';
import { NAT_T_PORT } from '../../workers/ikev2/header.ts';
import { SUITES } from '../../workers/ikev2/suites.ts';
import type { ShardPath } from '../../workers/path/ways.ts';
import { packPage, type SaPage } from '../../workers/sa/sa-page.ts';

import { ikev1KeysOf, ikev1SuiteOf } from './ikev1.ts';

export const LIVES = 2;
/** First DPD sequence number of every spoke of IKEv1. */
export const FIRST_SEQUENCE = 1_000;

export type FleetShape = {
  readonly count: number;
  readonly shards: number;
  readonly seed: string;
  /** Number of the suite that all have, of IKEv2 or IKEv1; undefined: those of IKEv2 one after the other. */
  readonly suite?: number | undefined;
  /** Sockets that the spokes share, half of them for each endpoint. */
  readonly sockets: readonly { readonly address: string; readonly port: number }[];
};

/** `count` different spokes of a fleet, spread evenly over it. */
export function spread(fleet: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => Math.floor((n * fleet) / count));
}

/** Index of the strongest suite with this cipher, as OpenSSL names it: the one with the longest integrity check value; or -1. */
export function suiteNamed(cipher: string): number {
  return SUITES.findLastIndex((suite) => suite.cipher === cipher);
}

/** The path of a headend without rules of its own, which vouches for canaries that arrive there. */
export function vouchedPath(canaryAddress: string, canaryPort: number): ShardPath {
  const ways = [{ local: '', ikePort: NAT_T_PORT, index: 0, canaryAddress, canaryPort }];
  return { guarded: false, ready: true, returning: false, ways };
}

/** Keys and SPIs of one life of one spoke. */
export type Identity = {
  readonly spi: readonly [i0: number, i1: number, r0: number, r1: number];
  readonly suite: (typeof SUITES)[number];
  readonly skEi: Uint8Array;
  readonly skEr: Uint8Array;
  readonly skAi: Uint8Array;
  readonly skAr: Uint8Array;
};

/** The identity of a spoke's life, always the same for one seed and suite. */
export function identityOf(seed: string, spoke: number, life: number, suiteOfAll?: number): Identity {
  const suite = SUITES[ikev1SuiteOf(suiteOfAll) ? 0 : (suiteOfAll ?? spoke % SUITES.length)]!;
  const stream = createHash('shake256', { outputLength: 16 + 2 * (36 + 64) })
    .update(`${seed}/${spoke}/${life}`)
    .digest();
  let at = 16;
  const take = (length: number) => {
    at += length;
    return stream.subarray(at - length, at);
  };
  const ske = suite.keyLength + suite.saltLength;
  return {
    // The spoke and its life in the initiator SPI make pairs unique; a set bit keeps SPIs from being zero.
    spi: [
      (stream.readUInt32BE(0) | 1) >>> 0,
      (spoke * LIVES + life) >>> 0,
      stream.readUInt32BE(8),
      stream.readUInt32BE(12) || 1,
    ],
    suite,
    skEi: take(ske),
    skEr: take(ske),
    skAi: take(suite.integrityKeyLength),
    skAr: take(suite.integrityKeyLength),
  };
}

/** The first lives of `count` spokes as a shard's thread takes them, each at its own number as handle. */
export function pageOf(fleet: FleetShape, count: number, policy: NonNullable<Sa['policy']>): SaPage {
  return packPage(
    Array.from({ length: count }, (_, spoke) => {
      const { keys, ...sa } = saOf(fleet, spoke, 0, policy);
      const [message, open] = [toBinary(SaSchema, sa), toBinary(SaKeysSchema, keys!)];
      return { handle: spoke, site: 0, dead: false, sa: message, keys: open };
    }),
  );
}

/** The SA of a spoke's life as a headend registers it; the spoke dialled in. */
export function saOf(fleet: FleetShape, spoke: number, life: number, policy: NonNullable<Sa['policy']>): Sa {
  const identity = identityOf(fleet.seed, spoke, life, fleet.suite);
  const ikev1 = ikev1SuiteOf(fleet.suite);
  const half = fleet.sockets.length / LIVES;
  return create(SaSchema, {
    id: spiPair(identity.spi),
    peerId: `spoke-${spoke}`,
    ikeVersion: ikev1 ? 1 : 2,
    dpdSupport: ikev1 ? DpdSupport.ANNOUNCED : DpdSupport.UNSPECIFIED,
    endpoints: Array.from({ length: LIVES }, (_, n) => ({
      ...fleet.sockets[n * half + (spoke % half)]!,
      connection: '',
    })),
    activeEndpoint: life,
    policy,
    keys: ikev1
      ? { encryption: ikev1.encryption, prf: ikev1.prf, ...ikev1KeysOf(fleet.seed, spoke, life, ikev1) }
      : {
          encryption: identity.suite.encryption,
          integrity: identity.suite.integrity,
          skEi: identity.skEi,
          skEr: identity.skEr,
          skAi: identity.skAi,
          skAr: identity.skAr,
        },
    nextMessageId: ikev1 ? FIRST_SEQUENCE : 0,
    childSpis: [(0xc0000000 + spoke * LIVES + life) >>> 0],
    revision: 1,
    parked: true,
  });
}
