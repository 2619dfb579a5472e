/**
 * Seals IKE keys at rest with AES-256-GCM; each record is bound to its headend and SA. There may be several keys: the first one seals, and
 * all of them open. Nonces are random, so a key should not seal more than 2^32 records (NIST SP 800-38D section 8.3).
 */

import { createHash } from 'node:crypto';
import { copy } from '../base/bytes.ts';
import { VaultError } from '../base/errors.ts';
import { fastestAead } from '../crypto/fastest-aead.ts';
import { pooledRandom } from '../crypto/random.ts';

export const VAULT_KEY_LENGTH = 32;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
/** First byte of a record: one that names its key, and one of a release that had a single key. */
const VERSION = 2;
const NAMELESS = 1;
const ID_LENGTH = 4;
/** Before what is sealed: version, key id if there is one, nonce. */
const HEAD_LENGTH = 1 + ID_LENGTH + NONCE_LENGTH;
const NAMELESS_LENGTH = 1 + NONCE_LENGTH;
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

type VaultKey = { readonly key: Uint8Array; readonly id: number };

export class Vault {
  #keys: readonly VaultKey[] = [];
  readonly #fillRandom = pooledRandom();

  /** @param keys 32 bytes each; see {@link use} */
  constructor(keys: readonly Uint8Array[]) {
    this.use(keys);
  }

  /** The keys themselves, for the vault of another thread. */
  get keys(): readonly Uint8Array[] {
    return this.#keys.map(({ key }) => key);
  }

  /** The first key's name, which says nothing of the key. */
  get sealsWith(): string {
    return this.#keys[0]!.id.toString(16).padStart(2 * ID_LENGTH, '0');
  }

  /** Seals with the first of these keys from now on, and opens with all of them. Throws RangeError. */
  use(keys: readonly Uint8Array[]): void {
    if (keys.length === 0) throw new RangeError('a vault needs a key');
    for (const { length } of keys)
      if (length !== VAULT_KEY_LENGTH)
        throw new RangeError(`vault key has ${length} bytes, must have ${VAULT_KEY_LENGTH}`);
    this.#keys = keys.map((key) => ({
      key,
      id: createHash('sha256').update('dpd vault').update(key).digest().readUInt32BE(),
    }));
  }

  /** Seals a record for the place that `context` names. Throws RangeError: {@link LONGEST} bytes each at most. */
  seal(plain: Uint8Array, context: string): Buffer {
    if (plain.length > LONGEST) throw new RangeError(`record of ${plain.length} bytes: ${LONGEST} at most`);
    const [{ key, id }] = this.#keys as readonly [VaultKey];
    const record = Buffer.allocUnsafe(HEAD_LENGTH + plain.length + TAG_LENGTH);
    record[0] = VERSION;
    record.writeUInt32BE(id, 1);
    this.#fillRandom(record, 1 + ID_LENGTH, HEAD_LENGTH);
    const headerLength = begin(key, record, HEAD_LENGTH, context);
    copy(plain, 0, parts.text, 0, plain.length);
    cipher.seal(plain.length, headerLength);
    copy(parts.text, 0, record, HEAD_LENGTH, plain.length);
    copy(parts.tag, 0, record, record.length - TAG_LENGTH, TAG_LENGTH);
    return record;
  }

  /** Opens a record. Throws VaultError. */
  open(record: Uint8Array, context: string): Buffer {
    const head = record[0] === NAMELESS ? NAMELESS_LENGTH : HEAD_LENGTH;
    const length = record.length - head - TAG_LENGTH;
    if (length < 0 || length > LONGEST || (record[0] !== VERSION && record[0] !== NAMELESS))
      throw new VaultError(`record of ${record.length} bytes is not sealed by this release`);
    const id = record[0] === NAMELESS ? undefined : idOf(record);
    for (const candidate of this.#keys) {
      if (id !== undefined && candidate.id !== id) continue;
      const headerLength = begin(candidate.key, record, head, context);
      copy(record, head, parts.text, 0, length);
      copy(record, head + length, parts.tag, 0, TAG_LENGTH);
      if (cipher.open(length, headerLength)) return Buffer.from(parts.text.subarray(0, length));
    }
    throw new VaultError('sealed with another vault key, or damaged');
  }

  /** Whether a record was sealed with the first key. */
  isSealedAnew(record: Uint8Array): boolean {
    return record.length > HEAD_LENGTH && record[0] === VERSION && idOf(record) === this.#keys[0]!.id;
  }
}

function idOf(record: Uint8Array): number {
  return ((record[1]! << 24) | (record[2]! << 16) | (record[3]! << 8) | record[4]!) >>> 0;
}

/** Gives the cipher key, nonce and place. Returns the length of the last. @param head bytes of the record before what is sealed */
function begin(key: Uint8Array, record: Uint8Array, head: number, context: string): number {
  copy(key, 0, parts.key, 0, VAULT_KEY_LENGTH);
  copy(record, head - NONCE_LENGTH, parts.nonce, 0, NONCE_LENGTH);
  const length = Buffer.byteLength(context);
  if (length > LONGEST) throw new RangeError(`place of ${length} bytes: ${LONGEST} at most`);
  return parts.header.write(context);
}
