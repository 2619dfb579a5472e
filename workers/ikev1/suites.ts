/**
 * How IKEv1's Informationals are protected under the keys of phase 1 (RFC 2409): a cipher in CBC mode, and the HMAC of the negotiated
 * hash as prf. Numbers are IANA's IKEv2 transform ids (types 1 and 2), as daemons use them for both versions.
 */

/** IANA's numbers of ciphers, and of pseudo-random functions. */
const Cipher = { TRIPLE_DES: 3, AES_CBC: 12 } as const;
const Prf = { HMAC_MD5: 1, HMAC_SHA1: 2, HMAC_SHA2_256: 5, HMAC_SHA2_384: 6, HMAC_SHA2_512: 7 } as const;

/** One way to protect an Informational. Lengths in bytes. */
export type Ikev1Suite = {
  /** Number in the table of sessions: {@link FIRST_IKEV1_SUITE} and more. */
  readonly index: number;
  readonly encryption: number;
  readonly prf: number;
  /** Names for OpenSSL. */
  readonly cipher: string;
  readonly hash: string;
  readonly keyLength: number;
  /** Of a cipher's block, and so of an IV. */
  readonly blockLength: number;
  /** What prf and hash give: also the length of SKEYID_a. */
  readonly hashLength: number;
};

/** In the table of sessions the numbers below are of IKEv2. */
export const FIRST_IKEV1_SUITE = 128;

const CIPHERS = [
  { encryption: Cipher.TRIPLE_DES, cipher: 'des-ede3-cbc', keyLength: 24, blockLength: 8 },
  ...[16, 24, 32].map((keyLength) => ({
    encryption: Cipher.AES_CBC,
    cipher: `aes-${keyLength * 8}-cbc`,
    keyLength,
    blockLength: 16,
  })),
];
const PRFS = [
  { prf: Prf.HMAC_MD5, hash: 'md5', hashLength: 16 },
  { prf: Prf.HMAC_SHA1, hash: 'sha1', hashLength: 20 },
  { prf: Prf.HMAC_SHA2_256, hash: 'sha256', hashLength: 32 },
  { prf: Prf.HMAC_SHA2_384, hash: 'sha384', hashLength: 48 },
  { prf: Prf.HMAC_SHA2_512, hash: 'sha512', hashLength: 64 },
];

/** Every suite spoken. The position is stable within a release and never stored. */
export const IKEV1_SUITES: readonly Ikev1Suite[] = CIPHERS.flatMap((cipher) =>
  PRFS.map((prf) => ({ ...cipher, ...prf })),
).map((suite, n) => ({ ...suite, index: FIRST_IKEV1_SUITE + n }));

/** The suite for this cipher, key length in bytes, and prf; or undefined if it is not spoken. */
export function findIkev1Suite(encryption: number, keyLength: number, prf: number): Ikev1Suite | undefined {
  return IKEV1_SUITES.find(
    (suite) => suite.encryption === encryption && suite.keyLength === keyLength && suite.prf === prf,
  );
}

/** What a session keeps of an SA: cipher key, SKEYID_a, and the last block of phase 1. */
export type Ikev1Keys = {
  readonly encryptionKey: Uint8Array;
  readonly skeyidA: Uint8Array;
  readonly phase1Block: Uint8Array;
};

/** Bytes of {@link ikev1Material}. */
export function ikev1MaterialLength({ keyLength, hashLength, blockLength }: Ikev1Suite): number {
  return keyLength + hashLength + blockLength;
}

/**
 * Lays the keys out in a row.
 * @throws RangeError naming the key whose length does not fit the suite
 */
export function ikev1Material(suite: Ikev1Suite, keys: Ikev1Keys): Uint8Array {
  const expect = (name: keyof Ikev1Keys, length: number) => {
    if (keys[name].length !== length)
      throw new RangeError(`${name} is ${keys[name].length} bytes, must be ${length} for ${suite.cipher}`);
    return keys[name];
  };
  return Buffer.concat([
    expect('encryptionKey', suite.keyLength),
    expect('skeyidA', suite.hashLength),
    expect('phase1Block', suite.blockLength),
  ]);
}

/** The keys that {@link ikev1Material} laid out. */
export function splitIkev1Material({ keyLength, hashLength }: Ikev1Suite, material: Uint8Array): Ikev1Keys {
  return {
    encryptionKey: material.subarray(0, keyLength),
    skeyidA: material.subarray(keyLength, keyLength + hashLength),
    phase1Block: material.subarray(keyLength + hashLength),
  };
}
