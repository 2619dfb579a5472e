/**
 * Sealing and opening the SK payload of a liveness check in place (RFC 7296 section 3.14, RFC 5282, RFC 7634).
 * On the path of every probe: whatever a cipher is given lies in buffers that are made once.
 */

import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import { type Aead, aead } from '../aead.ts';
import { copy } from '../bytes.ts';
import { SUITES, type Suite } from './algorithms.ts';
import { MARKER_LENGTH, MAX_MESSAGE_LENGTH, Offset } from './message.ts';

/** One direction's keys. */
export type DirectionKeys = {
  /** Cipher key without salt. */
  readonly encryption: Uint8Array;
  readonly salt: Uint8Array;
  readonly integrity: Uint8Array;
};

/** Authenticated but not encrypted: header and SK payload header. */
const HEADER_LENGTH = Offset.BODY - MARKER_LENGTH;

/** The AEADs, by their suites' index. */
const AEADS = SUITES.map((suite) => {
  if (!suite.aead) return undefined;
  const { cipher, keyLength: key, saltLength, ivLength, icvLength: tag } = suite;
  return aead({ cipher, key, nonce: saltLength + ivLength, header: HEADER_LENGTH, text: MAX_MESSAGE_LENGTH, tag });
});
/** What the other suites' ciphers are given: nothing inside but padding, padding length last. */
const WORK = SUITES.map(({ blockLength, icvLength, ivLength }) => {
  const plain = Buffer.alloc(blockLength);
  plain[blockLength - 1] = blockLength - 1;
  return { plain, sealed: Buffer.alloc(blockLength), iv: Buffer.alloc(ivLength), icv: Buffer.alloc(icvLength) };
});

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
  const end = start + suite.blockLength;
  const { plain } = WORK[suite.index]!;
  const cipher = AEADS[suite.index];
  if (cipher) {
    begin(cipher, suite, keys, datagram);
    copy(plain, 0, cipher.text, 0, suite.blockLength);
    cipher.seal(suite.blockLength, HEADER_LENGTH);
    copy(cipher.text, 0, datagram, start, suite.blockLength);
    copy(cipher.tag, 0, datagram, end, suite.icvLength);
    return;
  }
  const cbc = createCipheriv(suite.cipher, keys.encryption, vector(suite, datagram)).setAutoPadding(false);
  copy(cbc.update(plain), 0, datagram, start, suite.blockLength);
  copy(checksum(suite, keys, datagram, end), 0, datagram, end, suite.icvLength);
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
  const cipher = AEADS[suite.index];
  if (cipher) {
    begin(cipher, suite, keys, datagram);
    copy(datagram, start, cipher.text, 0, length);
    copy(datagram, end, cipher.tag, 0, suite.icvLength);
    return cipher.open(length, HEADER_LENGTH) && cipher.text[length - 1]! < length;
  }
  const work = WORK[suite.index]!;
  const sealed = length === suite.blockLength ? work.sealed : Buffer.allocUnsafe(length);
  copy(datagram, start, sealed, 0, length);
  copy(datagram, end, work.icv, 0, suite.icvLength);
  const expected = checksum(suite, keys, datagram, end).subarray(0, suite.icvLength);
  if (!timingSafeEqual(expected, work.icv)) return false;
  const cbc = createDecipheriv(suite.cipher, keys.encryption, vector(suite, datagram)).setAutoPadding(false);
  return cbc.update(sealed)[length - 1]! < length;
}

/** Gives an AEAD all but text and tag; its nonce is salt and IV in a row (RFC 5282 section 4). */
function begin(cipher: Aead, { keyLength, saltLength, ivLength }: Suite, keys: DirectionKeys, datagram: Buffer): void {
  copy(keys.encryption, 0, cipher.key, 0, keyLength);
  copy(keys.salt, 0, cipher.nonce, 0, saltLength);
  copy(datagram, Offset.BODY, cipher.nonce, saltLength, ivLength);
  copy(datagram, MARKER_LENGTH, cipher.header, 0, HEADER_LENGTH);
}

function vector({ index, ivLength }: Suite, datagram: Buffer): Buffer {
  const { iv } = WORK[index]!;
  copy(datagram, Offset.BODY, iv, 0, ivLength);
  return iv;
}

function checksum(suite: Suite, keys: DirectionKeys, datagram: Buffer, end: number): Buffer {
  return createHmac(suite.hash, keys.integrity).update(datagram.subarray(MARKER_LENGTH, end)).digest();
}
