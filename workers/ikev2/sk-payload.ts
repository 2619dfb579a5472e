/**
 * Sealing and opening the SK payload of a liveness check in place (RFC 7296 section 3.14, RFC 5282, RFC 7634).
 * On the path of every probe: whatever a cipher is given lies in buffers that are made once.
 */

import { copy } from '../base/bytes.ts';
import { type Aead, aead } from '../crypto/aead.ts';
import { MARKER_LENGTH, MAX_MESSAGE_LENGTH, Offset } from './header.ts';
import { SUITES, type Suite } from './suites.ts';

/** One direction's keys. */
export type DirectionKeys = {
  /** Cipher key without salt. */
  readonly encryption: Uint8Array;
  readonly salt: Uint8Array;
  readonly integrity: Uint8Array;
};

/** The suites' ciphers, by index. */
const CIPHERS = SUITES.map((suite) =>
  aead({
    cipher: suite.cipher,
    hash: suite.hash,
    key: suite.keyLength,
    integrityKey: suite.integrityKeyLength,
    nonce: suite.saltLength + suite.ivLength,
    header: headerLength(suite),
    text: MAX_MESSAGE_LENGTH,
    tag: suite.icvLength,
  }),
);

/** Length of a whole datagram, marker included, that seals nothing. */
export function sealedLength({ ivLength, blockLength, icvLength }: Suite): number {
  return Offset.BODY + ivLength + blockLength + icvLength;
}

/**
 * Seals an empty SK payload whose header and IV are in place. Writes padding, ciphertext and integrity check value.
 * Deterministic: the same header and IV give the same bytes.
 * @param datagram exactly {@link sealedLength} bytes
 */
export function seal(suite: Suite, keys: DirectionKeys, datagram: Buffer): void {
  const start = Offset.BODY + suite.ivLength;
  const length = suite.blockLength;
  const cipher = begin(suite, keys, datagram);
  const { text, tag } = cipher.parts;
  // Nothing but padding, its length last.
  text.fill(0, 0, length);
  text[length - 1] = length - 1;
  cipher.seal(length, headerLength(suite));
  copy(text, 0, datagram, start, length);
  copy(tag, 0, datagram, start + length, suite.icvLength);
}

/**
 * Authenticates a datagram that has the shape of an INFORMATIONAL message, whatever it holds.
 * @returns false if it is not authentic, or not padded as it must be
 */
export function open(suite: Suite, keys: DirectionKeys, datagram: Buffer): boolean {
  const start = Offset.BODY + suite.ivLength;
  const end = datagram.length - suite.icvLength;
  const length = end - start;
  if (length <= 0 || length % suite.blockLength !== 0) return false;
  const cipher = begin(suite, keys, datagram);
  const { text, tag } = cipher.parts;
  copy(datagram, start, text, 0, length);
  copy(datagram, end, tag, 0, suite.icvLength);
  return cipher.open(length, headerLength(suite)) && text[length - 1]! < length;
}

/** Gives a cipher all but text and tag. An AEAD's nonce is salt and IV in a row (RFC 5282 section 4). */
function begin(suite: Suite, keys: DirectionKeys, datagram: Buffer): Aead {
  const cipher = CIPHERS[suite.index]!;
  const { key, integrityKey, nonce, header } = cipher.parts;
  copy(keys.encryption, 0, key, 0, suite.keyLength);
  copy(keys.integrity, 0, integrityKey, 0, suite.integrityKeyLength);
  copy(keys.salt, 0, nonce, 0, suite.saltLength);
  copy(datagram, Offset.BODY, nonce, suite.saltLength, suite.ivLength);
  copy(datagram, MARKER_LENGTH, header, 0, headerLength(suite));
  return cipher;
}

/** Authenticated but not encrypted: header and SK payload header; where there is an HMAC, the IV too (RFC 7296 section 3.14). */
function headerLength({ hash, ivLength }: Suite): number {
  return Offset.BODY - MARKER_LENGTH + (hash === '' ? 0 : ivLength);
}
