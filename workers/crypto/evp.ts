/**
 * AEADs by OpenSSL's EVP functions, each with contexts that are used again and again: a cipher object of Node for every message
 * costs three to four times as much.
 */

import { timingSafeEqual } from 'node:crypto';
import { type NativeMemory, nativeFunctions, nativeMemory, partOf } from '../base/ffi.ts';
import type { Aead, AeadParts, AeadShape } from './aead.ts';

const evp = nativeFunctions({
  EVP_get_cipherbyname: { return: 'pointer', arguments: ['pointer'] },
  EVP_get_digestbyname: { return: 'pointer', arguments: ['pointer'] },
  EVP_CIPHER_CTX_new: { return: 'pointer', arguments: [] },
  EVP_CIPHER_CTX_ctrl: { return: 'int32', arguments: ['pointer', 'int32', 'int32', 'pointer'] },
  EVP_CIPHER_CTX_set_padding: { return: 'int32', arguments: ['pointer', 'int32'] },
  EVP_EncryptInit_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'] },
  EVP_EncryptUpdate: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32'] },
  EVP_EncryptFinal_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer'] },
  EVP_DecryptInit_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'] },
  EVP_DecryptUpdate: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32'] },
  EVP_DecryptFinal_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer'] },
  HMAC: {
    return: 'pointer',
    arguments: ['pointer', 'pointer', 'int32', 'pointer', 'uint64', 'pointer', 'pointer'],
  },
});
type Evp = NonNullable<typeof evp>;

/** EVP_CTRL_AEAD_GET_TAG and _SET_TAG of openssl/evp.h. */
const Ctrl = { GET_TAG: 16, SET_TAG: 17 } as const;
/** EVP_MAX_MD_SIZE. */
const LONGEST_DIGEST = 64;
const NULL = 0n;

/** Undefined if OpenSSL cannot be called, or does not have the cipher. */
export function evpAead(shape: AeadShape): Aead | undefined {
  if (!evp) return undefined;
  const cipher = byName(evp.EVP_get_cipherbyname, shape.cipher);
  const digest = shape.hash === '' ? NULL : byName(evp.EVP_get_digestbyname, shape.hash);
  if (cipher === NULL || (shape.hash !== '' && digest === NULL)) return undefined;
  const [sealing, opening] = [evp.EVP_CIPHER_CTX_new(), evp.EVP_CIPHER_CTX_new()];
  const begun =
    evp.EVP_EncryptInit_ex(sealing, cipher, NULL, NULL, NULL) &
    evp.EVP_DecryptInit_ex(opening, cipher, NULL, NULL, NULL);
  if (begun !== 1) return undefined;
  const contexts = { evp, sealing, opening };
  return shape.hash === '' ? new EvpAead(shape, contexts) : new EvpCbcHmac(shape, contexts, digest);
}

/** EVP_CIPHER_CTX of both directions. They live as long as the thread. */
type Contexts = { readonly evp: Evp; readonly sealing: bigint; readonly opening: bigint };

/** Memory that OpenSSL reads and writes, and the contexts to seal and open with. */
class EvpParts {
  readonly parts: AeadParts;
  protected readonly contexts: Contexts;
  /** `out`: for lengths that OpenSSL writes, known before. */
  protected readonly at: AeadParts<NativeMemory> & { readonly out: NativeMemory };

  constructor(shape: AeadShape, contexts: Contexts) {
    this.contexts = contexts;
    // One after the other, because some calls read both.
    const body = nativeMemory(shape.header + shape.text);
    const key = nativeMemory(shape.key);
    const integrityKey = nativeMemory(shape.integrityKey);
    const nonce = nativeMemory(shape.nonce);
    const header = partOf(body, 0, shape.header);
    const text = partOf(body, shape.header);
    const tag = nativeMemory(shape.tag);
    this.at = { key, integrityKey, nonce, header, text, tag, out: nativeMemory(Int32Array.BYTES_PER_ELEMENT) };
    this.parts = {
      key: key.bytes,
      integrityKey: integrityKey.bytes,
      nonce: nonce.bytes,
      header: header.bytes,
      text: text.bytes,
      tag: tag.bytes,
    };
  }
}

class EvpAead extends EvpParts implements Aead {
  seal(length: number, headerLength: number): void {
    const { evp, sealing } = this.contexts;
    const { key, nonce, header, text, tag, out } = this.at;
    const done =
      evp.EVP_EncryptInit_ex(sealing, NULL, NULL, key.address, nonce.address) &
      evp.EVP_EncryptUpdate(sealing, NULL, out.address, header.address, headerLength) &
      evp.EVP_EncryptUpdate(sealing, text.address, out.address, text.address, length) &
      evp.EVP_EncryptFinal_ex(sealing, text.address, out.address) &
      evp.EVP_CIPHER_CTX_ctrl(sealing, Ctrl.GET_TAG, tag.bytes.length, tag.address);
    if (done !== 1) throw new Error('OpenSSL did not seal');
  }

  open(length: number, headerLength: number): boolean {
    const { evp, opening } = this.contexts;
    const { key, nonce, header, text, tag, out } = this.at;
    const ready =
      evp.EVP_DecryptInit_ex(opening, NULL, NULL, key.address, nonce.address) &
      evp.EVP_CIPHER_CTX_ctrl(opening, Ctrl.SET_TAG, tag.bytes.length, tag.address) &
      evp.EVP_DecryptUpdate(opening, NULL, out.address, header.address, headerLength) &
      evp.EVP_DecryptUpdate(opening, text.address, out.address, text.address, length);
    return ready === 1 && evp.EVP_DecryptFinal_ex(opening, text.address, out.address) === 1;
  }
}

class EvpCbcHmac extends EvpParts implements Aead {
  readonly #hash: bigint;
  /** The whole digest, and as much of it as the tag has. */
  readonly #digest = nativeMemory(LONGEST_DIGEST);
  readonly #start: Buffer;

  constructor(shape: AeadShape, contexts: Contexts, hash: bigint) {
    super(shape, contexts);
    this.#hash = hash;
    this.#start = this.#digest.bytes.subarray(0, shape.tag);
    contexts.evp.EVP_CIPHER_CTX_set_padding(contexts.sealing, 0);
    contexts.evp.EVP_CIPHER_CTX_set_padding(contexts.opening, 0);
  }

  seal(length: number): void {
    const { evp, sealing } = this.contexts;
    const { key, nonce, text, out } = this.at;
    const done =
      evp.EVP_EncryptInit_ex(sealing, NULL, NULL, key.address, nonce.address) &
      evp.EVP_EncryptUpdate(sealing, text.address, out.address, text.address, length);
    if (done !== 1 || !this.#authenticate(length)) throw new Error('OpenSSL did not seal');
    this.#start.copy(this.parts.tag);
  }

  open(length: number): boolean {
    const { evp, opening } = this.contexts;
    const { key, nonce, text, out } = this.at;
    if (!this.#authenticate(length) || !timingSafeEqual(this.#start, this.parts.tag)) return false;
    const done =
      evp.EVP_DecryptInit_ex(opening, NULL, NULL, key.address, nonce.address) &
      evp.EVP_DecryptUpdate(opening, text.address, out.address, text.address, length);
    return done === 1;
  }

  #authenticate(length: number): boolean {
    const { integrityKey: key, header, out } = this.at;
    const bytes = BigInt(header.bytes.length + length);
    const { evp } = this.contexts;
    const { address } = this.#digest;
    return evp.HMAC(this.#hash, key.address, key.bytes.length, header.address, bytes, address, out.address) !== NULL;
  }
}

/** What OpenSSL has under this name, or NULL. */
export function byName(find: (name: bigint) => bigint, name: string): bigint {
  const memory = nativeMemory(name.length + 1);
  memory.bytes.write(name);
  const found = find(memory.address);
  // Held until here.
  memory.bytes.fill(0);
  return found;
}
