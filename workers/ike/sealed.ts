/**
 * Sealing and opening the SK payload of a liveness check in place (RFC 7296 section 3.14, RFC 5282, RFC 7634).
 * On the path of every probe: whatever a cipher is given lies in buffers that are made once.
 */

import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import { copy } from '../bytes.ts';
import { SUITES, type Suite } from './algorithms.ts';
import { MARKER_LENGTH, Offset } from './message.ts';

/** One direction's keys. */
export type DirectionKeys = {
  /** Cipher key without salt. */
  readonly encryption: Uint8Array;
  readonly salt: Uint8Array;
  readonly integrity: Uint8Array;
};

/** What a suite's ciphers are given, by its index: nothing inside but padding, padding length last. */
const WORK = SUITES.map(({ blockLength, icvLength, aead }) => {
  const plain = Buffer.alloc(blockLength);
  plain[blockLength - 1] = blockLength - 1;
  return {
    plain,
    sealed: Buffer.alloc(blockLength),
    iv: Buffer.alloc(aead ? 12 : 16),
    icv: Buffer.alloc(icvLength),
    options: { authTagLength: icvLength },
  };
});
/** Authenticated but not encrypted: header and SK payload header. */
const header = Buffer.alloc(Offset.BODY - MARKER_LENGTH);

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
  const { plain, options } = WORK[suite.index]!;
  const start = Offset.BODY + suite.ivLength;
  const end = start + suite.blockLength;
  const iv = initialisationVector(suite, keys, datagram);
  if (suite.aead) {
    const cipher = createCipheriv(suite.cipher as 'aes-256-gcm', keys.encryption, iv, options);
    copy(datagram, MARKER_LENGTH, header, 0, header.length);
    cipher.setAAD(header);
    copy(cipher.update(plain), 0, datagram, start, suite.blockLength);
    cipher.final();
    copy(cipher.getAuthTag(), 0, datagram, end, suite.icvLength);
    return;
  }
  const cipher = createCipheriv(suite.cipher, keys.encryption, iv).setAutoPadding(false);
  copy(cipher.update(plain), 0, datagram, start, suite.blockLength);
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
  const work = WORK[suite.index]!;
  const iv = initialisationVector(suite, keys, datagram);
  const sealed = length === suite.blockLength ? work.sealed : Buffer.allocUnsafe(length);
  copy(datagram, start, sealed, 0, length);
  copy(datagram, end, work.icv, 0, suite.icvLength);
  let plain: Buffer;
  if (suite.aead) {
    const decipher = createDecipheriv(suite.cipher as 'aes-256-gcm', keys.encryption, iv, work.options);
    copy(datagram, MARKER_LENGTH, header, 0, header.length);
    decipher.setAAD(header).setAuthTag(work.icv);
    plain = decipher.update(sealed);
    try {
      decipher.final();
    } catch {
      return false;
    }
  } else {
    const expected = checksum(suite, keys, datagram, end).subarray(0, suite.icvLength);
    if (!timingSafeEqual(expected, work.icv)) return false;
    plain = createDecipheriv(suite.cipher, keys.encryption, iv).setAutoPadding(false).update(sealed);
  }
  return plain[length - 1]! < length;
}

/** The message's IV as the cipher takes it: AEADs have salt and IV in a row (RFC 5282 section 4). */
function initialisationVector({ index, ivLength }: Suite, { salt }: DirectionKeys, datagram: Buffer): Buffer {
  const { iv } = WORK[index]!;
  copy(salt, 0, iv, 0, salt.length);
  copy(datagram, Offset.BODY, iv, salt.length, ivLength);
  return iv;
}

function checksum(suite: Suite, keys: DirectionKeys, datagram: Buffer, end: number): Buffer {
  return createHmac(suite.hash, keys.integrity).update(datagram.subarray(MARKER_LENGTH, end)).digest();
}
