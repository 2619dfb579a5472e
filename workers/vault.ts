/** Seals IKE keys at rest with AES-256-GCM; each record is bound to its headend and SA. */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { pooledRandom } from './random.ts';

export const VAULT_KEY_LENGTH = 32;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
/** First byte of a record. */
const VERSION = 1;

/** A record that does not open: another key, another SA, or damage. */
export class VaultError extends Error {
  override name = 'VaultError';
}

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

  /** Seals a record for the place that `context` names. */
  seal(plain: Uint8Array, context: string): Buffer {
    const record = Buffer.allocUnsafe(1 + NONCE_LENGTH + plain.length + TAG_LENGTH);
    record[0] = VERSION;
    this.#fillRandom(record, 1, 1 + NONCE_LENGTH);
    const cipher = createCipheriv('aes-256-gcm', this.#key, record.subarray(1, 1 + NONCE_LENGTH));
    cipher.setAAD(Buffer.from(context));
    cipher.update(plain).copy(record, 1 + NONCE_LENGTH);
    cipher.final();
    cipher.getAuthTag().copy(record, record.length - TAG_LENGTH);
    return record;
  }

  /** Opens a record. Throws VaultError. */
  open(record: Uint8Array, context: string): Buffer {
    if (record.length < 1 + NONCE_LENGTH + TAG_LENGTH || record[0] !== VERSION)
      throw new VaultError(`record of ${record.length} bytes is not sealed by this release`);
    const end = record.length - TAG_LENGTH;
    const decipher = createDecipheriv('aes-256-gcm', this.#key, record.subarray(1, 1 + NONCE_LENGTH));
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(record.subarray(end));
    try {
      const plain = decipher.update(record.subarray(1 + NONCE_LENGTH, end));
      // Nothing is left to come of it but that the record is authentic.
      decipher.final();
      return plain;
    } catch {
      throw new VaultError('sealed with another vault key, or damaged');
    }
  }
}
