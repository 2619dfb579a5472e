/** Seals IKE keys at rest with AES-256-GCM; each record is bound to its headend and SA. */

import { copy } from '../base/bytes.ts';
import { VaultError } from '../base/errors.ts';
import { fastestAead } from '../crypto/fastest-aead.ts';
import { pooledRandom } from '../crypto/random.ts';

export const VAULT_KEY_LENGTH = 32;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
/** First byte of a record. */
const VERSION = 1;
/** Before what is sealed: version and nonce. */
const HEAD_LENGTH = 1 + NONCE_LENGTH;
/** Longest plain record, and longest name of a place, bytes: several times what keys and a headend's name take. */
const LONGEST = 1_024;

const cipher = fastestAead({
  cipher: 'aes-256-gcm',
  hash: '',
  key: VAULT_KEY_LENGTH,
  integrityKey: 0,
  nonce: NONCE_LENGTH,
  header: LONGEST,
  text: LONGEST,
  tag: TAG_LENGTH,
});
const { parts } = cipher;

/** The place that an SA's keys are sealed for. */
export function placeOfKeys(headend: string, spi: string): string {
  return `${headend}/${spi}`;
}

export class Vault {
  readonly #key: Uint8Array;
  readonly #fillRandom = pooledRandom();

  /** @param key 32 bytes */
  constructor(key: Uint8Array) {
    if (key.length !== VAULT_KEY_LENGTH)
      throw new RangeError(`vault key has ${key.length} bytes, must have ${VAULT_KEY_LENGTH}`);
    this.#key = key;
  }

  /** The key itself, for the vault of another thread. */
  get key(): Uint8Array {
    return this.#key;
  }

  /** Seals a record for the place that `context` names. Throws RangeError: {@link LONGEST} bytes each at most. */
  seal(plain: Uint8Array, context: string): Buffer {
    if (plain.length > LONGEST) throw new RangeError(`record of ${plain.length} bytes: ${LONGEST} at most`);
    const record = Buffer.allocUnsafe(HEAD_LENGTH + plain.length + TAG_LENGTH);
    record[0] = VERSION;
    this.#fillRandom(record, 1, HEAD_LENGTH);
    const headerLength = this.#begin(record, context);
    copy(plain, 0, parts.text, 0, plain.length);
    cipher.seal(plain.length, headerLength);
    copy(parts.text, 0, record, HEAD_LENGTH, plain.length);
    copy(parts.tag, 0, record, record.length - TAG_LENGTH, TAG_LENGTH);
    return record;
  }

  /** Opens a record. Throws VaultError. */
  open(record: Uint8Array, context: string): Buffer {
    const length = record.length - HEAD_LENGTH - TAG_LENGTH;
    if (length < 0 || length > LONGEST || record[0] !== VERSION)
      throw new VaultError(`record of ${record.length} bytes is not sealed by this release`);
    const headerLength = this.#begin(record, context);
    copy(record, HEAD_LENGTH, parts.text, 0, length);
    copy(record, HEAD_LENGTH + length, parts.tag, 0, TAG_LENGTH);
    if (!cipher.open(length, headerLength)) throw new VaultError('sealed with another vault key, or damaged');
    return Buffer.from(parts.text.subarray(0, length));
  }

  /** Gives the cipher key, nonce and place. Returns the length of the last. */
  #begin(record: Uint8Array, context: string): number {
    copy(this.#key, 0, parts.key, 0, VAULT_KEY_LENGTH);
    copy(record, 1, parts.nonce, 0, NONCE_LENGTH);
    const length = Buffer.byteLength(context);
    if (length > LONGEST) throw new RangeError(`place of ${length} bytes: ${LONGEST} at most`);
    return parts.header.write(context);
  }
}
