/** Sealing and opening an SK payload in place (RFC 7296 section 3.14, RFC 5282, RFC 7634). */

import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import type { Suite } from './algorithms.ts';
import { MARKER_LENGTH, Offset } from './message.ts';

const EMPTY = new Uint8Array(0);
const nonce = Buffer.alloc(12);

/** One direction's keys, views into longer-lived memory. */
export type DirectionKeys = {
  /** Cipher key without salt. */
  readonly encryption: Uint8Array;
  readonly salt: Uint8Array;
  readonly integrity: Uint8Array;
};

/** Length of a whole datagram, marker included, that seals `payloadLength` bytes. */
export function sealedLength(suite: Suite, payloadLength: number): number {
  return Offset.BODY + suite.ivLength + paddedLength(suite, payloadLength) + suite.icvLength;
}

/**
 * Seals the payloads at `Offset.BODY + ivLength` of a datagram whose header and IV are in place. Writes padding,
 * ciphertext and integrity check value. Deterministic: the same header, IV and payloads give the same bytes.
 * @param datagram exactly {@link sealedLength} bytes
 */
export function seal(suite: Suite, keys: DirectionKeys, datagram: Buffer, payloadLength: number): void {
  const start = Offset.BODY + suite.ivLength;
  const padded = paddedLength(suite, payloadLength);
  datagram.fill(0, start + payloadLength, start + padded - 1);
  datagram[start + padded - 1] = padded - payloadLength - 1;
  const plain = datagram.subarray(start, start + padded);
  const iv = datagram.subarray(Offset.BODY, start);
  if (suite.aead) {
    const cipher = createCipheriv(suite.cipher as 'aes-256-gcm', keys.encryption, aeadNonce(keys.salt, iv), {
      authTagLength: suite.icvLength,
    });
    cipher.setAAD(datagram.subarray(MARKER_LENGTH, Offset.BODY));
    cipher.update(plain).copy(datagram, start);
    cipher.final();
    cipher.getAuthTag().copy(datagram, start + padded);
    return;
  }
  const cipher = createCipheriv(suite.cipher, keys.encryption, iv).setAutoPadding(false);
  cipher.update(plain).copy(datagram, start);
  cipher.final();
  checksum(suite, keys, datagram, start + padded).copy(datagram, start + padded, 0, suite.icvLength);
}

/**
 * Authenticates and decrypts a datagram that has the shape of an INFORMATIONAL message.
 * @returns the payloads inside, without padding, or undefined if the datagram is not authentic
 */
export function open(suite: Suite, keys: DirectionKeys, datagram: Buffer): Uint8Array | undefined {
  const start = Offset.BODY + suite.ivLength;
  const end = datagram.length - suite.icvLength;
  if (end <= start || (end - start) % suite.blockLength !== 0) return undefined;
  const iv = datagram.subarray(Offset.BODY, start);
  const sealed = datagram.subarray(start, end);
  let plain: Buffer;
  if (suite.aead) {
    const decipher = createDecipheriv(suite.cipher as 'aes-256-gcm', keys.encryption, aeadNonce(keys.salt, iv), {
      authTagLength: suite.icvLength,
    });
    decipher.setAAD(datagram.subarray(MARKER_LENGTH, Offset.BODY));
    decipher.setAuthTag(datagram.subarray(end));
    plain = decipher.update(sealed);
    try {
      decipher.final();
    } catch {
      return undefined;
    }
  } else {
    const expected = checksum(suite, keys, datagram, end).subarray(0, suite.icvLength);
    if (!timingSafeEqual(expected, datagram.subarray(end))) return undefined;
    plain = createDecipheriv(suite.cipher, keys.encryption, iv).setAutoPadding(false).update(sealed);
  }
  const padding = plain[plain.length - 1]! + 1;
  return padding > plain.length ? undefined : padding === plain.length ? EMPTY : plain.subarray(0, -padding);
}

function paddedLength(suite: Suite, payloadLength: number): number {
  return Math.ceil((payloadLength + 1) / suite.blockLength) * suite.blockLength;
}

function checksum(suite: Suite, keys: DirectionKeys, datagram: Buffer, end: number): Buffer {
  return createHmac(suite.hash, keys.integrity).update(datagram.subarray(MARKER_LENGTH, end)).digest();
}

/** Salt and IV in a row (RFC 5282 section 4). The buffer is reused: ciphers copy it at once. */
function aeadNonce(salt: Uint8Array, iv: Uint8Array): Buffer {
  nonce.set(salt, 0);
  nonce.set(iv, 4);
  return nonce;
}
