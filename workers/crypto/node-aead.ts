/** AEADs with Node's own ciphers: an object for each message. */

import { type CipherGCMTypes, createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import type { Aead, AeadParts, AeadShape } from './aead.ts';

export function nodeAead(shape: AeadShape): Aead {
  return shape.hash === '' ? new NodeAead(shape) : new NodeCbcHmac(shape);
}

/** Made once. */
function partsOf(shape: AeadShape): AeadParts {
  return {
    key: Buffer.alloc(shape.key),
    integrityKey: Buffer.alloc(shape.integrityKey),
    nonce: Buffer.alloc(shape.nonce),
    header: Buffer.alloc(shape.header),
    text: Buffer.alloc(shape.text),
    tag: Buffer.alloc(shape.tag),
  };
}

class NodeAead implements Aead {
  readonly parts: AeadParts;
  readonly #cipher: CipherGCMTypes;
  readonly #options: { readonly authTagLength: number };

  constructor(shape: AeadShape) {
    this.parts = partsOf(shape);
    this.#cipher = shape.cipher as CipherGCMTypes;
    this.#options = { authTagLength: shape.tag };
  }

  seal(length: number, headerLength: number): void {
    const { key, nonce, header, text, tag } = this.parts;
    const cipher = createCipheriv(this.#cipher, key, nonce, this.#options);
    cipher.setAAD(first(header, headerLength));
    text.set(cipher.update(first(text, length)));
    cipher.final();
    tag.set(cipher.getAuthTag());
  }

  open(length: number, headerLength: number): boolean {
    const { key, nonce, header, text, tag } = this.parts;
    const decipher = createDecipheriv(this.#cipher, key, nonce, this.#options);
    decipher.setAAD(first(header, headerLength)).setAuthTag(tag);
    text.set(decipher.update(first(text, length)));
    try {
      decipher.final();
      return true;
    } catch {
      return false;
    }
  }
}

class NodeCbcHmac implements Aead {
  readonly parts: AeadParts;
  readonly #cipher: string;
  readonly #hash: string;

  constructor(shape: AeadShape) {
    this.parts = partsOf(shape);
    this.#cipher = shape.cipher;
    this.#hash = shape.hash;
  }

  seal(length: number): void {
    const { key, nonce, text, tag } = this.parts;
    const cipher = createCipheriv(this.#cipher, key, nonce).setAutoPadding(false);
    text.set(cipher.update(first(text, length)));
    tag.set(this.#checksum(length));
  }

  open(length: number): boolean {
    const { key, nonce, text, tag } = this.parts;
    if (!timingSafeEqual(this.#checksum(length), tag)) return false;
    const decipher = createDecipheriv(this.#cipher, key, nonce).setAutoPadding(false);
    text.set(decipher.update(first(text, length)));
    return true;
  }

  #checksum(length: number): Buffer {
    const { integrityKey, header, text, tag } = this.parts;
    const hmac = createHmac(this.#hash, integrityKey).update(header).update(first(text, length));
    return first(hmac.digest(), tag.length);
  }
}

function first(bytes: Buffer, length: number): Buffer {
  return length === bytes.length ? bytes : bytes.subarray(0, length);
}
