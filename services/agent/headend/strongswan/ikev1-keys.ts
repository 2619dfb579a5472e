/**
 * An IKEv1 SA's keys from the ha feed. IKE_ADD brings what they are made of; IKE_IV follows with each message of phase 1, and the last
 * one brings the block that every later IV is made of. As the responder charon tells that the SA is up before its own last message.
 */

import { create } from '@bufbuild/protobuf';
import { DpdSupport, type SaKeys, SaKeysSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { findIkev1Suite, type Ikev1Suite } from '../../../../workers/ikev1/suites.ts';
import { deriveIkev1Keys } from '../../../../workers/keys/ikev1-derivation.ts';
import type { HaMessage } from './ha/ha-message.ts';

/** The prf that goes with an integrity algorithm, by IANA's numbers: IKEv1 negotiates only a hash. */
const PRF_OF_INTEGRITY: Readonly<Record<number, number>> = { 1: 1, 2: 2, 12: 5, 13: 6, 14: 7 };
/** ENCR_3DES of IANA's, and the length of its key, bits. */
const TRIPLE_DES = 3;
const TRIPLE_DES_BITS = 192;
/** EXT_DPD of charon's ike_sa.h: the peer has sent the vendor id of RFC 3706. */
const EXTENSION_DPD = 1 << 8;

/** What of an SA's keys is known before phase 1 has ended. */
export type Ikev1Phase1 = {
  readonly suite: Ikev1Suite;
  readonly skeyidA: Uint8Array;
  readonly encryptionKey: Uint8Array;
};

/** From an IKE_ADD, or why there are none. */
export function derivePhase1(message: HaMessage): Ikev1Phase1 | string {
  const { ikeId, nonceI, nonceR, secret, psk, authMethod } = message;
  const suite = suiteOf(message);
  if (typeof suite === 'string') return suite;
  if (!ikeId || !nonceI || !nonceR || !secret || (!psk && authMethod === undefined)) return 'incomplete key material';
  const { spiI: cookieI, spiR: cookieR } = ikeId;
  return { suite, ...deriveIkev1Keys(suite, { preSharedKey: psk, nonceI, nonceR, secret, cookieI, cookieR }) };
}

/** The keys with the last block of phase 1; undefined if that is no block of the cipher's. */
export function ikev1Keys({ suite, skeyidA, encryptionKey }: Ikev1Phase1, phase1Block: Uint8Array): SaKeys | undefined {
  if (phase1Block.length !== suite.blockLength) return undefined;
  const { encryption, prf } = suite;
  return create(SaKeysSchema, { encryption, prf, skeyidA, encryptionKey, phase1Block });
}

/** Whether the peer has announced DPD, from an IKE_UPDATE's extensions. */
export function dpdSupport(extensions: number | undefined): DpdSupport {
  if (extensions === undefined) return DpdSupport.UNSPECIFIED;
  return (extensions & EXTENSION_DPD) === 0 ? DpdSupport.ABSENT : DpdSupport.ANNOUNCED;
}

function suiteOf({ encryption, encryptionLength, integrity = 0, prf }: HaMessage): Ikev1Suite | string {
  if (encryption === undefined) return 'incomplete key material';
  const bits = encryption === TRIPLE_DES ? TRIPLE_DES_BITS : (encryptionLength ?? 128);
  // charon hashes IVs by the integrity algorithm, and signs by a prf, if its proposal names one apart.
  const own = PRF_OF_INTEGRITY[integrity];
  const suite = own !== undefined && (prf ?? own) === own ? findIkev1Suite(encryption, bits / 8, own) : undefined;
  return suite ?? `IKEv1 with encryption ${encryption} of ${bits} bits and integrity ${integrity} is not supported`;
}
