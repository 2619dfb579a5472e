/**
 * Encryption in CBC mode with a prf and a hash beside it, as IKEv1 uses them (RFC 2409 section 5.7 and appendix B), one message at a
 * time, in memory that is made once: OpenSSL called directly where that can be done, else Node's own ciphers.
 */

import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto';
import { nativeFunctions, nativeMemory } from '../base/ffi.ts';
import { byName } from './evp.ts';

export type PrfCbcShape = {
  /** OpenSSL's names of the cipher, and of the hash that is behind the prf. */
  readonly cipher: string;
  readonly hash: string;
  /** Lengths in bytes; of a message the longest. */
  readonly key: number;
  readonly prfKey: number;
  readonly block: number;
  readonly message: number;
};

/** Bytes of a message id behind a block, in what the IV is the hash of. */
const ID_LENGTH = 4;

/** What is filled in before, and taken away after. */
export type PrfCbcParts = {
  readonly key: Buffer;
  readonly prfKey: Buffer;
  /** A block and a message id: the first block of their hash is the IV. */
  readonly seed: Buffer;
  /** Plain before encryption and after decryption. */
  readonly text: Buffer;
  /** What the prf is taken of. */
  readonly signed: Buffer;
  /** What it gave. */
  readonly digest: Buffer;
};

export type PrfCbc = {
  readonly parts: PrfCbcParts;
  /** Encrypts or decrypts the first bytes of the text: whole blocks. */
  encrypt(length: number): void;
  decrypt(length: number): void;
  /** Takes the prf of the first bytes of what is signed. */
  sign(length: number): void;
};

const evp = nativeFunctions({
  EVP_get_cipherbyname: { return: 'pointer', arguments: ['pointer'] },
  EVP_MD_fetch: { return: 'pointer', arguments: ['pointer', 'pointer', 'pointer'] },
  EVP_MD_CTX_new: { return: 'pointer', arguments: [] },
  EVP_DigestInit_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer'] },
  EVP_DigestUpdate: { return: 'int32', arguments: ['pointer', 'pointer', 'uint64'] },
  EVP_DigestFinal_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer'] },
  HMAC_CTX_new: { return: 'pointer', arguments: [] },
  HMAC_Init_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'int32', 'pointer', 'pointer'] },
  HMAC_Update: { return: 'int32', arguments: ['pointer', 'pointer', 'uint64'] },
  HMAC_Final: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer'] },
  EVP_CIPHER_CTX_new: { return: 'pointer', arguments: [] },
  EVP_CIPHER_CTX_set_padding: { return: 'int32', arguments: ['pointer', 'int32'] },
  EVP_EncryptInit_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'] },
  EVP_EncryptUpdate: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32'] },
  EVP_DecryptInit_ex: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'] },
  EVP_DecryptUpdate: { return: 'int32', arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'int32'] },
});
type Evp = NonNullable<typeof evp>;

/** EVP_MAX_MD_SIZE. */
const LONGEST_DIGEST = 64;
const NULL = 0n;

/** The fastest way there is here. Throws Error if the cipher or the hash does not exist here. */
export function fastestPrfCbc(shape: PrfCbcShape): PrfCbc {
  return evpPrfCbc(shape) ?? new NodePrfCbc(shape);
}

/** Undefined if OpenSSL cannot be called, or does not have cipher or hash. */
function evpPrfCbc(shape: PrfCbcShape): PrfCbc | undefined {
  if (!evp) return undefined;
  const cipher = byName(evp.EVP_get_cipherbyname, shape.cipher);
  const hash = byName((name) => evp.EVP_MD_fetch(NULL, name, NULL), shape.hash);
  if (cipher === NULL || hash === NULL) return undefined;
  const [sealing, opening] = [evp.EVP_CIPHER_CTX_new(), evp.EVP_CIPHER_CTX_new()];
  const [digesting, signing] = [evp.EVP_MD_CTX_new(), evp.HMAC_CTX_new()];
  const begun =
    evp.EVP_EncryptInit_ex(sealing, cipher, NULL, NULL, NULL) &
    evp.EVP_DecryptInit_ex(opening, cipher, NULL, NULL, NULL) &
    evp.EVP_DigestInit_ex(digesting, hash, NULL);
  return begun === 1 ? new EvpPrfCbc(shape, { evp, hash, sealing, opening, digesting, signing }) : undefined;
}

/** The hash, and contexts that are used again and again: they live as long as the thread. */
type Contexts = { readonly evp: Evp } & {
  readonly [name in 'hash' | 'sealing' | 'opening' | 'digesting' | 'signing']: bigint;
};

class EvpPrfCbc implements PrfCbc {
  readonly parts: PrfCbcParts;
  readonly #contexts: Contexts;
  readonly #key;
  readonly #prfKey;
  readonly #seed;
  readonly #text;
  readonly #signed;
  /** The whole digest. */
  readonly #digest = nativeMemory(LONGEST_DIGEST);
  /** An IV is the beginning of it. */
  readonly #iv = nativeMemory(LONGEST_DIGEST);
  /** For lengths that OpenSSL writes, known before. */
  readonly #out = nativeMemory(Int32Array.BYTES_PER_ELEMENT);

  readonly #seedBytes: bigint;
  /** Lengths of what was signed, as OpenSSL takes them. */
  readonly #lengths: (bigint | undefined)[] = [];

  constructor(shape: PrfCbcShape, contexts: Contexts) {
    this.#seedBytes = BigInt(shape.block + ID_LENGTH);
    this.#contexts = contexts;
    this.#key = nativeMemory(shape.key);
    this.#prfKey = nativeMemory(shape.prfKey);
    this.#seed = nativeMemory(shape.block + ID_LENGTH);
    this.#text = nativeMemory(shape.message);
    this.#signed = nativeMemory(shape.message);
    this.parts = {
      key: this.#key.bytes,
      prfKey: this.#prfKey.bytes,
      seed: this.#seed.bytes,
      text: this.#text.bytes,
      signed: this.#signed.bytes,
      digest: this.#digest.bytes,
    };
    contexts.evp.EVP_CIPHER_CTX_set_padding(contexts.sealing, 0);
    contexts.evp.EVP_CIPHER_CTX_set_padding(contexts.opening, 0);
  }

  encrypt(length: number): void {
    const { evp, sealing } = this.#contexts;
    const done =
      this.#makeIv() &
      evp.EVP_EncryptInit_ex(sealing, NULL, NULL, this.#key.address, this.#iv.address) &
      evp.EVP_EncryptUpdate(sealing, this.#text.address, this.#out.address, this.#text.address, length);
    if (done !== 1) throw new Error('OpenSSL did not encrypt');
  }

  decrypt(length: number): void {
    const { evp, opening } = this.#contexts;
    const done =
      this.#makeIv() &
      evp.EVP_DecryptInit_ex(opening, NULL, NULL, this.#key.address, this.#iv.address) &
      evp.EVP_DecryptUpdate(opening, this.#text.address, this.#out.address, this.#text.address, length);
    if (done !== 1) throw new Error('OpenSSL did not decrypt');
  }

  sign(length: number): void {
    const { evp, hash, signing } = this.#contexts;
    const { address, bytes } = this.#prfKey;
    this.#lengths[length] ??= BigInt(length);
    const done =
      evp.HMAC_Init_ex(signing, address, bytes.length, hash, NULL) &
      evp.HMAC_Update(signing, this.#signed.address, this.#lengths[length]) &
      evp.HMAC_Final(signing, this.#digest.address, this.#out.address);
    if (done !== 1) throw new Error('OpenSSL took no prf');
  }

  #makeIv(): number {
    const { evp, digesting } = this.#contexts;
    return (
      evp.EVP_DigestInit_ex(digesting, NULL, NULL) &
      evp.EVP_DigestUpdate(digesting, this.#seed.address, this.#seedBytes) &
      evp.EVP_DigestFinal_ex(digesting, this.#iv.address, this.#out.address)
    );
  }
}

/** With an object for each message. */
export class NodePrfCbc implements PrfCbc {
  readonly parts: PrfCbcParts;
  readonly #cipher: string;
  readonly #hash: string;
  readonly #block: number;

  constructor(shape: PrfCbcShape) {
    this.#cipher = shape.cipher;
    this.#hash = shape.hash;
    this.#block = shape.block;
    this.parts = {
      key: Buffer.alloc(shape.key),
      prfKey: Buffer.alloc(shape.prfKey),
      seed: Buffer.alloc(shape.block + ID_LENGTH),
      text: Buffer.alloc(shape.message),
      signed: Buffer.alloc(shape.message),
      digest: Buffer.alloc(LONGEST_DIGEST),
    };
  }

  encrypt(length: number): void {
    const { key, text } = this.parts;
    const cipher = createCipheriv(this.#cipher, key, this.#iv()).setAutoPadding(false);
    text.set(cipher.update(text.subarray(0, length)));
  }

  decrypt(length: number): void {
    const { key, text } = this.parts;
    const decipher = createDecipheriv(this.#cipher, key, this.#iv()).setAutoPadding(false);
    text.set(decipher.update(text.subarray(0, length)));
  }

  sign(length: number): void {
    const { prfKey, signed, digest } = this.parts;
    digest.set(createHmac(this.#hash, prfKey).update(signed.subarray(0, length)).digest());
  }

  #iv(): Buffer {
    return createHash(this.#hash).update(this.parts.seed).digest().subarray(0, this.#block);
  }
}
