/** IKEv2 key derivation (RFC 7296 sections 2.13, 2.14 and 2.18, RFC 9370 section 2.2) for a headend that exports shared secrets. */

import { createHmac } from 'node:crypto';
import type { Suite } from '../ikev2/suites.ts';

/** Hash behind a PRF, by IANA transform id (type 2). */
const PRF_HASH: Readonly<Record<number, string>> = { 2: 'sha1', 5: 'sha256', 6: 'sha384', 7: 'sha512' };
const PRF_LENGTH: Readonly<Record<number, number>> = { 2: 20, 5: 32, 6: 48, 7: 64 };
const NOTHING = new Uint8Array();

/** What goes into the keys of one IKE SA. */
export type KeyInputs = {
  /** IANA transform id of the PRF: 2, 5, 6 or 7. */
  readonly prf: number;
  readonly nonceI: Uint8Array;
  readonly nonceR: Uint8Array;
  /** g^ir, the key exchange's shared secret. */
  readonly secret: Uint8Array;
  /** 8 bytes each, network order. */
  readonly spiI: Uint8Array;
  readonly spiR: Uint8Array;
  /** Of a rekeying: the secrets of its further key exchanges, one behind the other (RFC 9370 section 2.2.4). */
  readonly furtherSecrets?: Uint8Array;
  /** For a rekeyed SA: SK_d and PRF of the one it replaces (section 2.18); for a further key exchange, of the keys before. */
  readonly rekeyed?: { readonly skD: Uint8Array; readonly prf: number };
};

/** Keys as a Suite wants them; SK_e with salt. */
export type SaKeys = {
  readonly skD: Uint8Array;
  readonly skEi: Uint8Array;
  readonly skEr: Uint8Array;
  readonly skAi: Uint8Array;
  readonly skAr: Uint8Array;
};

/** Whether {@link deriveKeys} supports the PRF. */
export function knowsPrf(prf: number): boolean {
  return prf in PRF_HASH;
}

/** Derives an SA's keys. Throws RangeError on an unknown PRF. */
export function deriveKeys(suite: Suite, inputs: KeyInputs): SaKeys {
  const { prf, nonceI, nonceR, secret, furtherSecrets = NOTHING, spiI, spiR, rekeyed } = inputs;
  const nonces = Buffer.concat([nonceI, nonceR]);
  const seed = rekeyed
    ? hmac(rekeyed.prf, rekeyed.skD, Buffer.concat([secret, nonces, furtherSecrets]))
    : hmac(prf, nonces, secret);
  const lengths = {
    skD: PRF_LENGTH[prf]!,
    skA: suite.integrityKeyLength,
    skE: suite.keyLength + suite.saltLength,
  };
  const stream = prfPlus(
    // If a rekeying changes the PRF, strongSwan still uses the former one here.
    rekeyed?.prf ?? prf,
    seed,
    Buffer.concat([nonces, spiI, spiR]),
    lengths.skD + 2 * lengths.skA + 2 * lengths.skE,
  );
  let at = 0;
  const take = (length: number) => {
    at += length;
    return stream.subarray(at - length, at);
  };
  const skD = take(lengths.skD);
  const skAi = take(lengths.skA);
  const skAr = take(lengths.skA);
  const skEi = take(lengths.skE);
  const skEr = take(lengths.skE);
  return { skD, skAi, skAr, skEi, skEr };
}

/** prf+ of section 2.13. */
function prfPlus(prf: number, key: Uint8Array, seed: Uint8Array, length: number): Buffer {
  const blocks: Buffer[] = [];
  let last: Buffer = Buffer.alloc(0);
  for (let produced = 0, n = 1; produced < length; produced += last.length, n++) {
    last = hmac(prf, key, Buffer.concat([last, seed, Buffer.of(n)]));
    blocks.push(last);
  }
  return Buffer.concat(blocks, length);
}

function hmac(prf: number, key: Uint8Array, data: Uint8Array): Buffer {
  const hash = PRF_HASH[prf];
  if (!hash) throw new RangeError(`PRF ${prf} is not spoken`);
  return createHmac(hash, key).update(data).digest();
}
