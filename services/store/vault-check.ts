/** Whether the vault's key is the one that Redis's contents are sealed with. */

import { SettingsError } from '../../workers/base/errors.ts';
import type { Vault } from '../../workers/keys/vault.ts';
import { VAULT_CHECK } from './keys.ts';
import type { RedisClient } from './redis/redis.ts';

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
