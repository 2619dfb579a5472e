/** HMAC-SHA-256 (RFC 2104) of short texts: by OpenSSL called directly half of what a hash object of Node's costs. */

import { createHmac } from 'node:crypto';
import { nativeFunctions, nativeMemory } from '../base/ffi.ts';

const HMAC_LENGTH = 32;
export const HMAC_KEY_LENGTH = 32;

/** A text with a fixed room, and its HMAC. Both buffers are used again by each call. */
export type HmacSha256 = {
  readonly key: Buffer;
  readonly text: Buffer;
  /** Of the first `length` bytes of the text: a view, good until the next call. */
  digest(length: number): Buffer;
};

const native = nativeFunctions({
  EVP_sha256: { return: 'pointer', arguments: [] },
  HMAC: {
    return: 'pointer',
    arguments: ['pointer', 'pointer', 'int32', 'pointer', 'uint64', 'pointer', 'pointer'],
  },
});

/** @param room longest text, bytes */
export function fastestHmac(room: number): HmacSha256 {
  return evpHmac(room) ?? nodeHmac(room);
}

/** Undefined if OpenSSL cannot be called. */
export function evpHmac(room: number): HmacSha256 | undefined {
  if (!native) return undefined;
  // The closure holds the memory for as long as OpenSSL may be given its addresses.
  const [key, text] = [nativeMemory(HMAC_KEY_LENGTH), nativeMemory(room)];
  const [digest, length] = [nativeMemory(HMAC_LENGTH), nativeMemory(Int32Array.BYTES_PER_ELEMENT)];
  const sha256 = native.EVP_sha256();
  return {
    key: key.bytes,
    text: text.bytes,
    digest(bytes) {
      checkRoom(bytes, room);
      const { address } = digest;
      const done = native.HMAC(
        sha256,
        key.address,
        HMAC_KEY_LENGTH,
        text.address,
        BigInt(bytes),
        address,
        length.address,
      );
      if (done === 0n) throw new Error('OpenSSL made no HMAC');
      return digest.bytes;
    },
  };
}

/** The same with Node's own. */
export function nodeHmac(room: number): HmacSha256 {
  const [key, text] = [Buffer.alloc(HMAC_KEY_LENGTH), Buffer.alloc(room)];
  return {
    key,
    text,
    digest(bytes) {
      checkRoom(bytes, room);
      return createHmac('sha256', key).update(text.subarray(0, bytes)).digest();
    },
  };
}

/** OpenSSL would read past the text's end. */
function checkRoom(bytes: number, room: number): void {
  if (!(bytes >= 0 && bytes <= room)) throw new RangeError(`text of ${bytes} bytes: ${room} at most`);
}
