/** AEADs with Node's own ciphers: an object for each message. */

import { type CipherGCMTypes, createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import type { Aead, AeadShape } from './aead.ts';

export function nodeAead(shape: AeadShape): Aead {
  return shape.hash === '' ? new NodeAead(shape) : new NodeCbcHmac(shape);
}

/** What is given and taken. */
class Parts {
  readonly key: Buffer;
  readonly integrityKey: Buffer;
  readonly nonce: Buffer;
  readonly header: Buffer;
  readonly text: Buffer;
  readonly tag: Buffer;

  constructor(shape: AeadShape) {
    this.key = Buffer.alloc(shape.key);
    this.integrityKey = Buffer.alloc(shape.integrityKey);
    this.nonce = Buffer.alloc(shape.nonce);
    this.header = Buffer.alloc(shape.header);
    this.text = Buffer.alloc(shape.text);
    this.tag = Buffer.alloc(shape.tag);
  }
}

class NodeAead extends Parts implements Aead {
  readonly #cipher: CipherGCMTypes;
  readonly #options: { readonly authTagLength: number };

  constructor(shape: AeadShape) {
    super(shape);
    this.#cipher = shape.cipher as CipherGCMTypes;
    this.#options = { authTagLength: shape.tag };
  }

  seal(length: number, headerLength: number): void {
    const cipher = createCipheriv(this.#cipher, this.key, this.nonce, this.#options);
    cipher.setAAD(first(this.header, headerLength));
    this.text.set(cipher.update(first(this.text, length)));
    cipher.final();
    this.tag.set(cipher.getAuthTag());
  }

  open(length: number, headerLength: number): boolean {
    const decipher = createDecipheriv(this.#cipher, this.key, this.nonce, this.#options);
    decipher.setAAD(first(this.header, headerLength)).setAuthTag(this.tag);
    this.text.set(decipher.update(first(this.text, length)));
    try {
      decipher.final();
      return true;
    } catch {
      return false;
    }
  }
}

class NodeCbcHmac extends Parts implements Aead {
  readonly #cipher: string;
  readonly #hash: string;

  constructor(shape: AeadShape) {
    super(shape);
    this.#cipher = shape.cipher;
    this.#hash = shape.hash;
  }

  seal(length: number): void {
    const cipher = createCipheriv(this.#cipher, this.key, this.nonce).setAutoPadding(false);
    this.text.set(cipher.update(first(this.text, length)));
    this.tag.set(this.#checksum(length));
  }

  open(length: number): boolean {
    if (!timingSafeEqual(this.#checksum(length), this.tag)) return false;
    const decipher = createDecipheriv(this.#cipher, this.key, this.nonce).setAutoPadding(false);
    this.text.set(decipher.update(first(this.text, length)));
    return true;
  }

  #checksum(length: number): Buffer {
    const hmac = createHmac(this.#hash, this.integrityKey).update(this.header).update(first(this.text, length));
    return first(hmac.digest(), this.tag.length);
  }
}

function first(bytes: Buffer, length: number): Buffer {
  return length === bytes.length ? bytes : bytes.subarray(0, length);
}
