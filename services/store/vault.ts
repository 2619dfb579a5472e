/** Where the vault's key comes from, and whether it is the one that Redis's contents are sealed with. */

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SettingsError } from '../../workers/base/errors.ts';
import { VAULT_KEY_LENGTH, Vault } from '../../workers/keys/vault.ts';
import { VAULT_CHECK } from './keys.ts';
import type { RedisClient } from './redis/redis.ts';

/** Permissions of anybody but a file's owner. */
const OTHERS = 0o077;

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
  const { mode } = statSync(file);
  if ((mode & OTHERS) !== 0)
    throw new SettingsError(
      `vault-key-file ${file}: its mode is ${(mode & 0o777).toString(8)}, and others can read it; chmod 600`,
    );
  return new Vault(decode(readFileSync(file, 'utf8'), `vault-key-file ${file}`));
}

/**
 * Makes sure that the data in Redis can be opened. The first node writes a record for the others to try.
 * @throws SettingsError if it is sealed with another key
 */
export async function checkVault(vault: Vault, redis: RedisClient): Promise<void> {
  const own = vault.seal(Buffer.alloc(0), VAULT_CHECK);
  await redis.setnx(VAULT_CHECK, own);
  const record = await redis.getBuffer(VAULT_CHECK);
  try {
    vault.open(record ?? own, VAULT_CHECK);
  } catch {
    throw new SettingsError('vault-key-file or DPD_VAULT_KEY: not the key that IKE keys in this Redis are sealed with');
  }
}

function decode(text: string, source: string): Buffer {
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length !== VAULT_KEY_LENGTH)
    throw new SettingsError(
      `${source}: must be ${VAULT_KEY_LENGTH} bytes in base64 (openssl rand -base64 ${VAULT_KEY_LENGTH})`,
    );
  return key;
}
