/** Authenticated encryption of one message at a time, in place, in memory that is made once. */

import { type CipherGCMTypes, createCipheriv, createDecipheriv } from 'node:crypto';
import { type AeadShape, EvpAead } from './native/evp.ts';

/** An AEAD with one key at a time. Whoever uses it fills in what it reads, and takes away what it writes. */
export type Aead = {
  readonly key: Buffer;
  readonly nonce: Buffer;
  /** Authenticated but not encrypted. */
  readonly header: Buffer;
  /** Plain before sealing and after opening, sealed between. */
  readonly text: Buffer;
  readonly tag: Buffer;
  /**
   * Encrypts the text, and writes the tag.
   * @param length of the text, bytes: the first of what there is room for
   * @param headerLength likewise
   */
  seal(length: number, headerLength: number): void;
  /** Decrypts the text. False if it, header or tag are not authentic. */
  open(length: number, headerLength: number): boolean;
};

/** The fastest way there is here. */
export function aead(shape: AeadShape): Aead {
  return EvpAead.of(shape) ?? new NodeAead(shape);
}

/** With a cipher object for each message. */
export class NodeAead implements Aead {
  readonly key: Buffer;
  readonly nonce: Buffer;
  readonly header: Buffer;
  readonly text: Buffer;
  readonly tag: Buffer;
  readonly #cipher: CipherGCMTypes;
  readonly #options: { readonly authTagLength: number };

  constructor(shape: AeadShape) {
    this.key = Buffer.alloc(shape.key);
    this.nonce = Buffer.alloc(shape.nonce);
    this.header = Buffer.alloc(shape.header);
    this.text = Buffer.alloc(shape.text);
    this.tag = Buffer.alloc(shape.tag);
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

function first(bytes: Buffer, length: number): Buffer {
  return length === bytes.length ? bytes : bytes.subarray(0, length);
}
