/**
 * An IKE SA's keys from the ha feed. A further key exchange before IKE_AUTH (IKE_INTERMEDIATE, RFC 9370 section 2.2.2) makes new keys
 * from those before, and comes in a separate IKE_ADD; the further exchanges of a rekeying come in one IKE_ADD with the first.
 */

import { create } from '@bufbuild/protobuf';
import { type SaKeys, SaKeysSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { findSuite, type Suite } from '../../../../workers/ikev2/suites.ts';
import { deriveKeys, knowsPrf } from '../../../../workers/keys/derivation.ts';
import type { HaMessage } from './ha/ha-message.ts';

/** Keys, and the input for those of a further key exchange. */
export type Derivation = {
  readonly keys: SaKeys;
  readonly suite: Suite;
  readonly prf: number;
  readonly skD: Uint8Array;
  /** Of every key exchange so far, in order. */
  readonly secrets: readonly Buffer[];
  /**
   * Further key exchanges still expected, as far as charon announces them: until then the keys are not the SA's final ones.
   */
  readonly due: number;
};

/**
 * The IKE_ADD announces a further key exchange before IKE_AUTH. 6.0.0 names the SA as its own successor, later ones name no algorithms.
 */
export function isFurther({ ikeId, rekeyId, encryption }: HaMessage): boolean {
  if (!ikeId || !rekeyId) return encryption === undefined;
  return rekeyId.spiI.equals(ikeId.spiI) && rekeyId.spiR.equals(ikeId.spiR);
}

/**
 * The keys from an IKE_ADD, or why there are none.
 * @param before of a further key exchange: the result of the one before
 */
export function deriveSaKeys(message: HaMessage, before: Derivation | undefined): Derivation | string {
  const { ikeId, nonceI, nonceR, secret, addSecret, oldSkD, oldPrf } = message;
  const further = isFurther(message);
  const algorithms = further ? (before ?? 'incomplete key material') : readAlgorithms(message);
  if (typeof algorithms === 'string') return algorithms;
  if (!ikeId || !nonceI || !nonceR || !secret) return 'incomplete key material';
  const { suite, prf } = algorithms;
  if (oldSkD && oldPrf !== undefined && !knowsPrf(oldPrf)) return `PRF ${oldPrf} is not supported`;
  // If an SA is named as its own successor, its SK_d is already the new one.
  const old = further ? before : oldSkD && { skD: oldSkD, prf: oldPrf ?? prf };
  const { skD, skEi, skEr, skAi, skAr } = deriveKeys(suite, {
    prf,
    nonceI,
    nonceR,
    secret,
    spiI: ikeId.spiI,
    spiR: ikeId.spiR,
    ...(addSecret && { furtherSecrets: addSecret }),
    ...(old && { rekeyed: old }),
  });
  const { encryption, integrity } = suite;
  return {
    keys: create(SaKeysSchema, { encryption, integrity, skEi, skEr, skAi, skAr }),
    suite,
    prf,
    skD,
    secrets: [...(before?.secrets ?? []), secret],
    due: further ? Math.max(0, before!.due - 1) : oldSkD ? 0 : furtherExchanges(message),
  };
}

function readAlgorithms(message: HaMessage): Pick<Derivation, 'suite' | 'prf'> | string {
  const { encryption, encryptionLength, integrity = 0, prf } = message;
  if (encryption === undefined || prf === undefined) return 'incomplete key material';
  if (!knowsPrf(prf)) return `PRF ${prf} is not supported`;
  const saltLength = integrity === 0 ? 4 : 0;
  const suite = findSuite(encryption, integrity, (encryptionLength ?? 256) / 8 + saltLength);
  if (suite) return { suite, prf };
  return `encryption ${encryption} of ${encryptionLength} bits with integrity ${integrity} is not supported`;
}

/** Further key exchanges that an SA begins with: their methods are told, 2 bytes each, 0 where one is left out. */
function furtherExchanges({ furtherMethods }: HaMessage): number {
  let count = 0;
  for (let at = 0; furtherMethods && at + 2 <= furtherMethods.length; at += 2)
    if (furtherMethods.readUInt16BE(at) !== 0) count++;
  return count;
}
