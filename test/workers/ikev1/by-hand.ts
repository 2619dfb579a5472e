/** An IKEv1 Informational made step by step from RFC 2409 and RFC 3706 with node:crypto alone: what ours is compared with. */

import { createCipheriv, createHash, createHmac } from 'node:crypto';

export type Plain = {
  readonly cipher: string;
  readonly hash: string;
  readonly key: Buffer;
  readonly skeyidA: Buffer;
  readonly lastBlock: Buffer;
  readonly cookies: Buffer;
  readonly messageId: number;
};

/** A DPD notification (RFC 3706 section 5.3); 36136 asks, 36137 acknowledges. */
export function notification(cookies: Buffer, type: number, sequence: number, next = 0): Buffer {
  const head = Buffer.from([next, 0, 0, 32, 0, 0, 0, 1, 1, 16, type >> 8, type & 255]);
  return Buffer.concat([head, cookies, word(sequence)]);
}

/** Any payload. */
export function payload(next: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([next, 0, (body.length + 4) >> 8, (body.length + 4) & 255]), body]);
}

/** Header, HASH(1) and payloads, encrypted, behind the marker of port 4500. @param first type of the first payload behind the hash */
export function informational(plain: Plain, payloads: Buffer, first = 11): Buffer {
  const { cipher, hash, key, skeyidA, lastBlock, cookies, messageId } = plain;
  const id = word(messageId);
  const block = lastBlock.length;
  const hash1 = createHmac(hash, skeyidA).update(id).update(payloads).digest();
  const text = Buffer.concat([payload(first, hash1), payloads]);
  const padded = Buffer.concat([text, Buffer.alloc((block - (text.length % block)) % block)]);
  const iv = createHash(hash).update(lastBlock).update(id).digest().subarray(0, block);
  const encryption = createCipheriv(cipher, key, iv).setAutoPadding(false);
  const body = Buffer.concat([encryption.update(padded), encryption.final()]);
  const head = Buffer.concat([cookies, Buffer.from([8, 0x10, 5, 1]), id, word(28 + body.length)]);
  return Buffer.concat([Buffer.alloc(4), head, body]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
