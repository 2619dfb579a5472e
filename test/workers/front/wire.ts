/** IKE messages as daemons write them, sealed and opened by Node's ciphers: nothing of what is tested is used. */

import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import type { Identity } from '../../../loadtest/spokes/fleet.ts';

export const CREATE_CHILD_SA = 36;
export const INFORMATIONAL = 37;
const SK = 46;
const SKF = 53;
const INITIATOR = 8;
const RESPONSE = 32;

export type Message = {
  readonly exchange: number;
  readonly response: boolean;
  /** Of the SA's original initiator. */
  readonly initiator: boolean;
  readonly id: number;
  readonly text: string;
  /** Which fragment of how many; undefined: it is in one piece. */
  readonly fragment?: { readonly number: number; readonly total: number } | undefined;
};

/** Marker and header, 32 bytes, payload header, 4, and what a fragment says of itself, 4. */
const BODY = 36;

export function sealed({ spi, suite, ...keys }: Identity, message: Message): Buffer {
  const { exchange, response, initiator, id, text, fragment } = message;
  const padding = (suite.blockLength - ((text.length + 1) % suite.blockLength)) % suite.blockLength;
  const plain = Buffer.concat([Buffer.from(text), Buffer.alloc(padding), Buffer.of(padding)]);
  const head = Buffer.alloc(fragment ? BODY + 4 : BODY);
  spi.forEach((word, n) => head.writeUInt32BE(word, 4 + 4 * n));
  head[20] = fragment ? SKF : SK;
  head[21] = 0x20;
  head[22] = exchange;
  head[23] = (response ? RESPONSE : 0) | (initiator ? INITIATOR : 0);
  head.writeUInt32BE(id, 24);
  // What is inside first: a notification, or nothing.
  head[32] = text === '' ? 0 : 41;
  const length = head.length + suite.ivLength + plain.length + suite.icvLength;
  head.writeUInt32BE(length - 4, 28);
  head.writeUInt16BE(length - 32, 34);
  if (fragment) {
    head.writeUInt16BE(fragment.number, 36);
    head.writeUInt16BE(fragment.total, 38);
  }
  const iv = randomBytes(suite.ivLength);
  const [ske, ska] = initiator ? [keys.skEi, keys.skAi] : [keys.skEr, keys.skAr];
  if (!suite.aead) {
    const cipher = createCipheriv(suite.cipher, ske, iv).setAutoPadding(false);
    const body = Buffer.concat([head, iv, cipher.update(plain), cipher.final()]);
    const mac = createHmac(suite.hash, ska).update(body.subarray(4)).digest();
    return Buffer.concat([body, mac.subarray(0, suite.icvLength)]);
  }
  const key = ske.subarray(0, suite.keyLength);
  const nonce = Buffer.concat([ske.subarray(suite.keyLength), iv]);
  const cipher = createCipheriv(suite.cipher as CipherGCMTypes, key, nonce, { authTagLength: suite.icvLength });
  cipher.setAAD(head.subarray(4));
  return Buffer.concat([head, iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Undefined if it is not authentic. */
export function opened({ suite, ...keys }: Identity, datagram: Buffer): Message | undefined {
  const initiator = (datagram[23]! & INITIATOR) !== 0;
  const fragmented = datagram[20] === SKF;
  const start = fragmented ? BODY + 4 : BODY;
  const end = datagram.length - suite.icvLength;
  const iv = datagram.subarray(start, start + suite.ivLength);
  const sealedText = datagram.subarray(start + suite.ivLength, end);
  const [ske, ska] = initiator ? [keys.skEi, keys.skAi] : [keys.skEr, keys.skAr];
  let plain: Buffer;
  if (suite.aead) {
    const nonce = Buffer.concat([ske.subarray(suite.keyLength), iv]);
    const key = ske.subarray(0, suite.keyLength);
    const cipher = createDecipheriv(suite.cipher as CipherGCMTypes, key, nonce, { authTagLength: suite.icvLength });
    cipher.setAAD(datagram.subarray(4, start)).setAuthTag(datagram.subarray(end));
    try {
      plain = Buffer.concat([cipher.update(sealedText), cipher.final()]);
    } catch {
      return undefined;
    }
  } else {
    const mac = createHmac(suite.hash, ska).update(datagram.subarray(4, end)).digest().subarray(0, suite.icvLength);
    if (!timingSafeEqual(mac, datagram.subarray(end))) return undefined;
    const cipher = createDecipheriv(suite.cipher, ske, iv).setAutoPadding(false);
    plain = Buffer.concat([cipher.update(sealedText), cipher.final()]);
  }
  return {
    exchange: datagram[22]!,
    response: (datagram[23]! & RESPONSE) !== 0,
    initiator,
    id: datagram.readUInt32BE(24),
    text: plain.toString('latin1', 0, plain.length - 1 - plain[plain.length - 1]!),
    ...(fragmented && { fragment: { number: datagram.readUInt16BE(36), total: datagram.readUInt16BE(38) } }),
  };
}
