/**
 * Sealing and opening the SK payload of a liveness check in place (RFC 7296 section 3.14, RFC 5282, RFC 7634). It is on
 * the path of every probe, so all inputs of a cipher are in buffers that are allocated once.
 */

import { copy } from '../base/bytes.ts';
import { MAX_MESSAGE_LENGTH } from '../base/limits.ts';
import type { Aead } from '../crypto/aead.ts';
import { fastestAead } from '../crypto/fastest-aead.ts';
import { bodyOf, MARKER_LENGTH, Offset } from './header.ts';
import { SUITES, type Suite } from './suites.ts';

/** One direction's keys. */
export type DirectionKeys = {
  /** Cipher key without salt. */
  readonly encryption: Uint8Array;
  readonly salt: Uint8Array;
  readonly integrity: Uint8Array;
};

/**
 * The suites' ciphers, by index. Those for fragments, whose header is longer, are made when the first fragment comes.
 */
const CIPHERS = SUITES.map((suite) => cipherOf(suite, Offset.BODY));
const FRAGMENT_CIPHERS: (Aead | undefined)[] = [];

function cipherOf(suite: Suite, body: number): Aead {
  return fastestAead({
    cipher: suite.cipher,
    hash: suite.hash,
    key: suite.keyLength,
    integrityKey: suite.integrityKeyLength,
    nonce: suite.saltLength + suite.ivLength,
    header: headerLength(suite, body),
    text: MAX_MESSAGE_LENGTH,
    tag: suite.icvLength,
  });
}

function fragmentCipherOf(suite: Suite, body: number): Aead {
  FRAGMENT_CIPHERS[suite.index] ??= cipherOf(suite, body);
  return FRAGMENT_CIPHERS[suite.index]!;
}

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
  const cipher = begin(suite, keys, datagram, Offset.BODY);
  const { text, tag } = cipher.parts;
  // Nothing but padding, its length last.
  text.fill(0, 0, length);
  text[length - 1] = length - 1;
  cipher.seal(length, headerLength(suite, Offset.BODY));
  copy(text, 0, datagram, start, length);
  copy(tag, 0, datagram, start + length, suite.icvLength);
}

/**
 * Authenticates a datagram that has the shape of an INFORMATIONAL message, with any content.
 * @returns false if it is not authentic, or not padded as it must be
 */
export function open(suite: Suite, keys: DirectionKeys, datagram: Buffer): boolean {
  return openText(suite, keys, datagram, Offset.BODY) >= 0;
}

/**
 * Seals a message, or a fragment of one, again under another message id, in place, with the same keys: the text does not change.
 * @param datagram of the shape that {@link isEncrypted} tells
 * @param iv the suite uses as much of it as it needs
 * @returns false if it is not authentic; then the datagram is as it was
 */
export function reseal(suite: Suite, keys: DirectionKeys, datagram: Buffer, mid: number, iv: Uint8Array): boolean {
  const body = bodyOf(datagram);
  const length = openText(suite, keys, datagram, body);
  if (length < 0) return false;
  const start = body + suite.ivLength;
  datagram.writeUInt32BE(mid, Offset.MESSAGE_ID);
  copy(iv, 0, datagram, body, suite.ivLength);
  const cipher = begin(suite, keys, datagram, body);
  cipher.seal(length, headerLength(suite, body));
  copy(cipher.parts.text, 0, datagram, start, length);
  copy(cipher.parts.tag, 0, datagram, start + length, suite.icvLength);
  return true;
}

/** Opens an authentic message and leaves the text in its suite's cipher. Returns its length with padding, or -1. */
function openText(suite: Suite, keys: DirectionKeys, datagram: Buffer, body: number): number {
  const start = body + suite.ivLength;
  const end = datagram.length - suite.icvLength;
  const length = end - start;
  if (length <= 0 || length % suite.blockLength !== 0) return -1;
  const cipher = begin(suite, keys, datagram, body);
  const { text, tag } = cipher.parts;
  copy(datagram, start, text, 0, length);
  copy(datagram, end, tag, 0, suite.icvLength);
  return cipher.open(length, headerLength(suite, body)) && text[length - 1]! < length ? length : -1;
}

/** Gives a cipher all but text and tag. An AEAD's nonce is salt and IV in a row (RFC 5282 section 4). */
function begin(suite: Suite, keys: DirectionKeys, datagram: Buffer, body: number): Aead {
  const cipher = body === Offset.BODY ? CIPHERS[suite.index]! : fragmentCipherOf(suite, body);
  const { key, integrityKey, nonce, header } = cipher.parts;
  copy(keys.encryption, 0, key, 0, suite.keyLength);
  copy(keys.integrity, 0, integrityKey, 0, suite.integrityKeyLength);
  copy(keys.salt, 0, nonce, 0, suite.saltLength);
  copy(datagram, body, nonce, suite.saltLength, suite.ivLength);
  copy(datagram, MARKER_LENGTH, header, 0, headerLength(suite, body));
  return cipher;
}

/** Authenticated but not encrypted: all before the IV; where there is an HMAC, the IV too (RFC 7296 section 3.14). */
function headerLength({ hash, ivLength }: Suite, body: number): number {
  return body - MARKER_LENGTH + (hash === '' ? 0 : ivLength);
}
