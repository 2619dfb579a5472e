import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SettingsError } from '../../../services/settings.ts';
import { openVault, Vault, VaultError } from '../../../services/store/vault.ts';

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

test('a key file is made once, with mode 0600, and read again', () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-vault-'));
  try {
    const file = join(directory, 'sub', 'vault.key');
    const record = openVault(undefined, file, true).seal(Buffer.from('x'), '');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(String(openVault(undefined, file, false).open(record, '')), 'x');
    assert.throws(() => openVault(undefined, join(directory, 'none'), false), /ENOENT/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a key that is none is refused without being shown', () => {
  assert.throws(
    () => openVault('c2hvcnQ=', undefined, false),
    (error: Error) => {
      return (
        error instanceof SettingsError && /32 bytes in base64/.test(error.message) && !error.message.includes('c2hvcnQ')
      );
    },
  );
  assert.throws(() => openVault(undefined, undefined, false), SettingsError);
});
