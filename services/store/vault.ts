/** Where the vault's key comes from. */

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SettingsError } from '../../workers/base/errors.ts';
import { VAULT_KEY_LENGTH, Vault } from '../../workers/keys/vault.ts';

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
    writeFileSync(file, `${randomBytes(VAULT_KEY_LENGTH).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
    chmodSync(file, 0o600);
  }
  return new Vault(decode(readFileSync(file, 'utf8'), `vault-key-file ${file}`));
}

function decode(text: string, source: string): Buffer {
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length !== VAULT_KEY_LENGTH)
    throw new SettingsError(
      `${source}: must be ${VAULT_KEY_LENGTH} bytes in base64 (openssl rand -base64 ${VAULT_KEY_LENGTH})`,
    );
  return key;
}
