/** Seals IKE keys at rest with AES-256-GCM; each record is bound to its headend and SA. */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { pooledRandom } from '../../workers/random.ts';
import { SettingsError } from '../settings.ts';

const KEY_LENGTH = 32;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
/** First byte of a record. */
const VERSION = 1;

/** A record that does not open: another key, another SA, or damage. */
export class VaultError extends Error {
  override name = 'VaultError';
}

export class Vault {
  readonly #key: Buffer;
  readonly #fillRandom = pooledRandom();

  /** @param key 32 bytes */
  constructor(key: Buffer) {
    if (key.length !== KEY_LENGTH)
      throw new SettingsError(`vault key has ${key.length} bytes, must have ${KEY_LENGTH}`);
    this.#key = key;
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
  open(record: Buffer, context: string): Buffer {
    if (record.length < 1 + NONCE_LENGTH + TAG_LENGTH || record[0] !== VERSION)
      throw new VaultError(`record of ${record.length} bytes is not sealed by this release`);
    const end = record.length - TAG_LENGTH;
    const decipher = createDecipheriv('aes-256-gcm', this.#key, record.subarray(1, 1 + NONCE_LENGTH));
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(record.subarray(end));
    try {
      return Buffer.concat([decipher.update(record.subarray(1 + NONCE_LENGTH, end)), decipher.final()]);
    } catch {
      throw new VaultError('sealed with another vault key, or damaged');
    }
  }
}

/**
 * The vault by its settings: a key in base64, a file that holds one, or, if `makeFile`, a new file with mode 0600.
 * @throws SettingsError
 */
export function openVault(key: string | undefined, file: string | undefined, makeFile: boolean): Vault {
  if (key !== undefined) return new Vault(decode(key, 'DPD_VAULT_KEY'));
  if (file === undefined)
    throw new SettingsError('vault-key-file or DPD_VAULT_KEY is needed: IKE keys rest sealed in a Redis of yours');
  if (!existsSync(file)) {
    if (!makeFile) throw new SettingsError(`vault-key-file ${file}: ENOENT`);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, `${randomBytes(KEY_LENGTH).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
    chmodSync(file, 0o600);
  }
  return new Vault(decode(readFileSync(file, 'utf8'), `vault-key-file ${file}`));
}

function decode(text: string, source: string): Buffer {
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length !== KEY_LENGTH)
    throw new SettingsError(`${source}: must be ${KEY_LENGTH} bytes in base64 (openssl rand -base64 ${KEY_LENGTH})`);
  return key;
}
