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
    const record = openVault({ file, make: true }).seal(Buffer.from('x'), '');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(String(openVault({ file, make: false }).open(record, '')), 'x');
    assert.throws(() => openVault({ file: join(directory, 'none'), make: false }), /ENOENT/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a key that is none is refused without being shown', () => {
  assert.throws(
    () => openVault({ keys: 'c2hvcnQ=' }),
    (error: Error) => {
      return (
        error instanceof SettingsError && /32 bytes in base64/.test(error.message) && !error.message.includes('c2hvcnQ')
      );
    },
  );
});

test('of several keys, one a line, the first seals and all open', () => {
  const [old, young] = [1, 2].map((n) => Buffer.alloc(32, n).toString('base64'));
  const record = openVault({ keys: old! }).seal(Buffer.from('x'), 'place');
  const both = openVault({ keys: `${young}\n${old}\n` });
  assert.equal(String(both.open(record, 'place')), 'x');
  assert.equal(both.isSealedAnew(record), false);
  const anew = both.seal(Buffer.from('x'), 'place');
  assert.equal(both.isSealedAnew(anew), true);
  assert.equal(String(openVault({ keys: young! }).open(anew, 'place')), 'x');
  assert.throws(() => openVault({ keys: `${young} short` }), SettingsError);
});
