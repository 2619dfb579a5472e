/** An AEAD by OpenSSL's EVP functions, one context used again and again: a third of what a cipher object of Node costs. */

import type { Aead } from '../aead.ts';
import { NativeMemory, nativeFunctions } from './ffi.ts';

const evp = nativeFunctions({
  EVP_get_cipherbyname: { return: 'pointer', arguments: ['pointer'] },
  EVP_CIPHER_CTX_new: { return: 'pointer', arguments: [] },
  EVP_CIPHER_CTX_ctrl: { return: 'int32', arguments: ['pointer', 'int32', 'int32', 'pointer'] },
  EVP_EncryptInit_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'] },
  EVP_EncryptUpdate: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32'] },
  EVP_EncryptFinal_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer'] },
  EVP_DecryptInit_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'] },
  EVP_DecryptUpdate: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32'] },
  EVP_DecryptFinal_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer'] },
});

/** EVP_CTRL_AEAD_GET_TAG and _SET_TAG of openssl/evp.h. */
const Ctrl = { GET_TAG: 16, SET_TAG: 17 } as const;
const NULL = 0n;

/** An AEAD by OpenSSL's name; lengths, or longest ones, in bytes. */
export type AeadShape = {
  readonly cipher: string;
  readonly key: number;
  readonly nonce: number;
  readonly header: number;
  readonly text: number;
  readonly tag: number;
};

type Part = { readonly bytes: Buffer; readonly at: bigint };

export class EvpAead implements Aead {
  readonly key: Buffer;
  readonly nonce: Buffer;
  readonly header: Buffer;
  readonly text: Buffer;
  readonly tag: Buffer;
  readonly #evp: NonNullable<typeof evp>;
  /** Of EVP_CIPHER_CTX: they live as long as the thread. */
  readonly #sealing: bigint;
  readonly #opening: bigint;
  readonly #at: Readonly<Record<'key' | 'nonce' | 'header' | 'text' | 'tag' | 'out', bigint>>;

  private constructor({ cipher, ...room }: AeadShape, functions: NonNullable<typeof evp>) {
    this.#evp = functions;
    const name = Buffer.from(`${cipher}\0`);
    const lengths = [room.key, room.nonce, room.header, room.text, room.tag, Int32Array.BYTES_PER_ELEMENT, name.length];
    const memory = new NativeMemory(lengths.reduce((sum, length) => sum + length));
    let end = 0;
    const parts = lengths.map((length) => {
      const start = end;
      end += length;
      return { bytes: memory.bytes.subarray(start, end), at: memory.at(start) };
    });
    const [key, nonce, header, text, tag, out, cipherName] = parts as [Part, Part, Part, Part, Part, Part, Part];
    this.key = key.bytes;
    this.nonce = nonce.bytes;
    this.header = header.bytes;
    this.text = text.bytes;
    this.tag = tag.bytes;
    this.#at = { key: key.at, nonce: nonce.at, header: header.at, text: text.at, tag: tag.at, out: out.at };
    cipherName.bytes.set(name);
    const type = functions.EVP_get_cipherbyname(cipherName.at);
    this.#sealing = functions.EVP_CIPHER_CTX_new();
    this.#opening = functions.EVP_CIPHER_CTX_new();
    if (functions.EVP_EncryptInit_ex(this.#sealing, type, NULL, NULL, NULL) !== 1) throw new Error(`no ${cipher}`);
    if (functions.EVP_DecryptInit_ex(this.#opening, type, NULL, NULL, NULL) !== 1) throw new Error(`no ${cipher}`);
  }

  /** Undefined if OpenSSL cannot be called. */
  static of(shape: AeadShape): EvpAead | undefined {
    return evp && new EvpAead(shape, evp);
  }

  seal(length: number, headerLength: number): void {
    const { key, nonce, header, text, tag, out } = this.#at;
    const done =
      this.#evp.EVP_EncryptInit_ex(this.#sealing, NULL, NULL, key, nonce) &
      this.#evp.EVP_EncryptUpdate(this.#sealing, NULL, out, header, headerLength) &
      this.#evp.EVP_EncryptUpdate(this.#sealing, text, out, text, length) &
      this.#evp.EVP_EncryptFinal_ex(this.#sealing, text, out) &
      this.#evp.EVP_CIPHER_CTX_ctrl(this.#sealing, Ctrl.GET_TAG, this.tag.length, tag);
    if (done !== 1) throw new Error('OpenSSL did not seal');
  }

  open(length: number, headerLength: number): boolean {
    const { key, nonce, header, text, tag, out } = this.#at;
    const ready =
      this.#evp.EVP_DecryptInit_ex(this.#opening, NULL, NULL, key, nonce) &
      this.#evp.EVP_CIPHER_CTX_ctrl(this.#opening, Ctrl.SET_TAG, this.tag.length, tag) &
      this.#evp.EVP_DecryptUpdate(this.#opening, NULL, out, header, headerLength) &
      this.#evp.EVP_DecryptUpdate(this.#opening, text, out, text, length);
    return ready === 1 && this.#evp.EVP_DecryptFinal_ex(this.#opening, text, out) === 1;
  }
}
