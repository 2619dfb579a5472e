/** IKEv1 key derivation (RFC 2409 section 5 and appendix B) for a headend that exports its shared secrets. */

import { createHmac } from 'node:crypto';
import type { Ikev1Suite } from '../ikev1/suites.ts';

/** What goes into the keys of one IKE SA. */
export type Ikev1KeyInputs = {
  /** With a pre-shared key; undefined: with signatures, where SKEYID is made of the shared secret. */
  readonly preSharedKey: Uint8Array | undefined;
  readonly nonceI: Uint8Array;
  readonly nonceR: Uint8Array;
  /** g^xy, the key exchange's shared secret. */
  readonly secret: Uint8Array;
  /** Cookies, 8 bytes each. */
  readonly cookieI: Uint8Array;
  readonly cookieR: Uint8Array;
};

/** SKEYID_a, and the key of the cipher. */
export function deriveIkev1Keys(
  suite: Ikev1Suite,
  inputs: Ikev1KeyInputs,
): { readonly skeyidA: Uint8Array; readonly encryptionKey: Uint8Array } {
  const { preSharedKey, nonceI, nonceR, secret, cookieI, cookieR } = inputs;
  const prf = (key: Uint8Array, ...data: readonly Uint8Array[]) =>
    createHmac(suite.hash, key).update(Buffer.concat(data)).digest();
  const skeyid = preSharedKey ? prf(preSharedKey, nonceI, nonceR) : prf(Buffer.concat([nonceI, nonceR]), secret);
  const tail = (n: number) => [secret, cookieI, cookieR, Buffer.of(n)];
  const skeyidD = prf(skeyid, ...tail(0));
  const skeyidA = prf(skeyid, skeyidD, ...tail(1));
  const skeyidE = prf(skeyid, skeyidA, ...tail(2));
  return { skeyidA, encryptionKey: stretch(skeyidE, suite.keyLength, (data) => prf(skeyidE, data)) };
}

/** Appendix B: a key that SKEYID_e is too short for is prf(SKEYID_e, 0), then each time the prf of the part before. */
function stretch(skeyidE: Buffer, length: number, prf: (data: Uint8Array) => Buffer): Buffer {
  if (skeyidE.length >= length) return skeyidE.subarray(0, length);
  const parts: Buffer[] = [];
  for (let made = 0, last: Buffer = Buffer.of(0); made < length; made += last.length) {
    last = prf(last);
    parts.push(last);
  }
  return Buffer.concat(parts, length);
}
