import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openVault } from '../../../services/store/vault.ts';
import { SettingsError } from '../../../workers/base/errors.ts';

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
