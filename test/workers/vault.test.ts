import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Vault, VaultError } from '../../workers/vault.ts';

const vault = new Vault(Buffer.alloc(32, 1));

test('what is sealed opens, in its own place and with its own key only', () => {
  const record = vault.seal(Buffer.from('keys'), 'hub/1');
  assert.equal(String(vault.open(record, 'hub/1')), 'keys');
  assert.throws(() => vault.open(record, 'hub/2'), VaultError);
  assert.throws(() => new Vault(Buffer.alloc(32, 2)).open(record, 'hub/1'), VaultError);
  record[20]! ^= 1;
  assert.throws(() => vault.open(record, 'hub/1'), VaultError);
  assert(!vault.seal(Buffer.from('keys'), '').includes('keys'));
});
