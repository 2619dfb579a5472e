/** Where the vault's key comes from, and whether it is the one that Redis's contents are sealed with. */

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SettingsError } from '../../workers/base/errors.ts';
import { VAULT_KEY_LENGTH, Vault } from '../../workers/keys/vault.ts';
import { watchFiles } from '../base/watch-files.ts';
import { VAULT_CHECK } from './keys.ts';
import type { RedisClient } from './redis/redis.ts';

/**
 * Permissions that a file of keys must not give. Its group may read it: systemd's credentials, and secrets that Kubernetes mounts,
 * reach the one service that may have them in this way.
 */
const OTHERS = 0o037;

/** Where a vault's keys are. */
export type VaultSource =
  /** In the environment. */
  | { readonly keys: string }
  /** In a file, made with mode 0600 if it may be. */
  | { readonly file: string; readonly make: boolean };

/**
 * The vault by its settings: keys in base64, one a line; the first one seals.
 * @throws SettingsError
 */
export function openVault(source: VaultSource): Vault {
  if ('keys' in source) return new Vault(decode(source.keys, 'DPD_VAULT_KEY'));
  const { file, make } = source;
  if (!existsSync(file)) {
    if (!make) throw new SettingsError(`vault-key-file ${file}: ENOENT`);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, `${randomBytes(VAULT_KEY_LENGTH).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
    chmodSync(file, 0o600);
  }
  return new Vault(readKeys(file));
}

/** Has a vault use the keys that its file holds, whenever that changes. Returns what ends that. Does not keep the process. */
export function watchVault(vault: Vault, source: VaultSource, changed: (failure?: Error) => void): () => void {
  if ('keys' in source) return () => {};
  return watchFiles([source.file], () => {
    try {
      vault.use(readKeys(source.file));
      changed();
    } catch (error) {
      changed(error as Error);
    }
  });
}

function readKeys(file: string): Buffer[] {
  const { mode } = statSync(file);
  if ((mode & OTHERS) !== 0)
    throw new SettingsError(
      `vault-key-file ${file}: its mode is ${(mode & 0o777).toString(8)}, and others can read it; chmod 600`,
    );
  return decode(readFileSync(file, 'utf8'), `vault-key-file ${file}`);
}

/**
 * Makes sure that the data in Redis can be opened. The first node writes a record for the others to try.
 * @throws SettingsError if it is sealed with another key
 */
export async function checkVault(vault: Vault, redis: RedisClient): Promise<void> {
  const own = vault.seal(Buffer.alloc(0), VAULT_CHECK);
  await redis.setnx(VAULT_CHECK, own);
  const record = (await redis.getBuffer(VAULT_CHECK)) ?? own;
  try {
    vault.open(record, VAULT_CHECK);
  } catch {
    throw new SettingsError('vault-key-file or DPD_VAULT_KEY: not the key that IKE keys in this Redis are sealed with');
  }
  if (!vault.isSealedAnew(record)) await redis.set(VAULT_CHECK, own);
}

/** The keys in a text, one a line. */
function decode(text: string, source: string): Buffer[] {
  const keys = text
    .trim()
    .split(/\s+/)
    .map((line) => Buffer.from(line, 'base64'));
  if (keys.some(({ length }) => length !== VAULT_KEY_LENGTH))
    throw new SettingsError(
      `${source}: must be ${VAULT_KEY_LENGTH} bytes in base64 (openssl rand -base64 ${VAULT_KEY_LENGTH}), one such key a line`,
    );
  return keys;
}
