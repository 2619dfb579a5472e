/**
 * The SK payload's cipher suites. Numbers are IANA's IKEv2 transform ids (types 1 and 3).
 * AES-CBC with HMAC: RFC 7296 section 3.14; AES-GCM: RFC 5282; ChaCha20-Poly1305: RFC 7634.
 */

export const Encryption = {
  AES_CBC: 12,
  AES_GCM_8: 18,
  AES_GCM_12: 19,
  AES_GCM_16: 20,
  CHACHA20_POLY1305: 28,
} as const;

const Integrity = {
  NONE: 0,
  HMAC_SHA1_96: 2,
  HMAC_SHA2_256_128: 12,
  HMAC_SHA2_384_192: 13,
  HMAC_SHA2_512_256: 14,
} as const;

/** One way to protect an SK payload. Lengths in bytes. */
export type Suite = {
  /** Position in {@link SUITES}. */
  readonly index: number;
  readonly encryption: number;
  readonly integrity: number;
  /** Name for OpenSSL. */
  readonly cipher: string;
  readonly aead: boolean;
  /** SK_e without salt. */
  readonly keyLength: number;
  /** Salt at the end of SK_e; 0 for CBC. */
  readonly saltLength: number;
  /** IV in the message. */
  readonly ivLength: number;
  /** Plaintext is padded to a multiple of this. */
  readonly blockLength: number;
  /** Integrity check value in the message. */
  readonly icvLength: number;
  /** Hash of the HMAC, or empty for AEAD. */
  readonly hash: string;
  /** SK_a; 0 for AEAD. */
  readonly integrityKeyLength: number;
};

const HMACS = [
  { integrity: Integrity.HMAC_SHA1_96, hash: 'sha1', integrityKeyLength: 20, icvLength: 12 },
  { integrity: Integrity.HMAC_SHA2_256_128, hash: 'sha256', integrityKeyLength: 32, icvLength: 16 },
  { integrity: Integrity.HMAC_SHA2_384_192, hash: 'sha384', integrityKeyLength: 48, icvLength: 24 },
  { integrity: Integrity.HMAC_SHA2_512_256, hash: 'sha512', integrityKeyLength: 64, icvLength: 32 },
];
const GCMS = [
  { encryption: Encryption.AES_GCM_8, icvLength: 8 },
  { encryption: Encryption.AES_GCM_12, icvLength: 12 },
  { encryption: Encryption.AES_GCM_16, icvLength: 16 },
];
const AEAD = { aead: true, integrity: Integrity.NONE, hash: '', integrityKeyLength: 0 } as const;

/** Every suite spoken. The position is stable within a release and never stored. */
export const SUITES: readonly Suite[] = [
  ...[16, 24, 32].flatMap((keyLength) =>
    HMACS.map((hmac) => ({
      encryption: Encryption.AES_CBC,
      cipher: `aes-${keyLength * 8}-cbc`,
      aead: false,
      keyLength,
      saltLength: 0,
      ivLength: 16,
      blockLength: 16,
      ...hmac,
    })),
  ),
  ...[16, 32].flatMap((keyLength) =>
    GCMS.map((gcm) => ({
      ...AEAD,
      ...gcm,
      cipher: `aes-${keyLength * 8}-gcm`,
      keyLength,
      saltLength: 4,
      ivLength: 8,
      blockLength: 1,
    })),
  ),
  {
    ...AEAD,
    encryption: Encryption.CHACHA20_POLY1305,
    cipher: 'chacha20-poly1305',
    keyLength: 32,
    saltLength: 4,
    ivLength: 8,
    blockLength: 1,
    icvLength: 16,
  },
].map((suite, index) => ({ ...suite, index }));

/**
 * The suite for these transforms, or undefined if it is not spoken.
 * @param skeLength length of SK_e with its salt, bytes
 */
export function findSuite(encryption: number, integrity: number, skeLength: number): Suite | undefined {
  return SUITES.find(
    (suite) =>
      suite.encryption === encryption &&
      suite.integrity === integrity &&
      suite.keyLength + suite.saltLength === skeLength,
  );
}

/** Bytes of both directions' keys in a row: SK_e and SK_a of the sender, then of the receiver. */
export function keyMaterialLength(suite: Suite): number {
  return 2 * (suite.keyLength + suite.saltLength + suite.integrityKeyLength);
}
