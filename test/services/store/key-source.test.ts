import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadKeys, workerKeys } from '../../../services/store/key-source.ts';
import { SettingsError } from '../../../workers/base/errors.ts';
import { Vault } from '../../../workers/keys/vault.ts';

test('a key file is made once, with mode 0600, and read again', () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-vault-'));
  try {
    const file = join(directory, 'sub', 'vault.key');
    const record = new Vault(loadKeys({ file, setting: 'vault-key-file', make: true })).seal(Buffer.from('x'), '');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(String(new Vault(loadKeys({ file, setting: 'vault-key-file' })).open(record, '')), 'x');
    assert.throws(
      () => loadKeys({ file: join(directory, 'none'), setting: 'cluster-key-file' }),
      /cluster-key-file.*ENOENT/,
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a key that is none is refused without being shown', () => {
  assert.throws(
    () => new Vault(loadKeys({ keys: 'c2hvcnQ=' })),
    (error: Error) => {
      return (
        error instanceof SettingsError && /32 bytes in base64/.test(error.message) && !error.message.includes('c2hvcnQ')
      );
    },
  );
});

test('of several keys, one a line, the first seals and all open', () => {
  const [old, young] = [1, 2].map((n) => Buffer.alloc(32, n).toString('base64'));
  const record = new Vault(loadKeys({ keys: old! })).seal(Buffer.from('x'), 'place');
  const both = new Vault(loadKeys({ keys: `${young}\n${old}\n` }));
  assert.equal(String(both.open(record, 'place')), 'x');
  assert.equal(both.isSealedAnew(record), false);
  const anew = both.seal(Buffer.from('x'), 'place');
  assert.equal(both.isSealedAnew(anew), true);
  assert.equal(String(new Vault(loadKeys({ keys: young! })).open(anew, 'place')), 'x');
  assert.throws(() => new Vault(loadKeys({ keys: `${young} short` })), SettingsError);
});

test('a program that only proves what it writes takes the cluster’s keys, else the vault’s; without any it says so', () => {
  const none = { clusterKeyFile: undefined, vaultKeyFile: undefined, vaultKey: undefined };
  const setting = (source: ReturnType<typeof workerKeys>) => ('file' in source ? source.setting : 'environment');
  assert.equal(setting(workerKeys({ clusterKeyFile: 'a', vaultKeyFile: 'b', vaultKey: 'c' })), 'cluster-key-file');
  assert.equal(setting(workerKeys({ ...none, vaultKeyFile: 'b', vaultKey: 'c' })), 'vault-key-file');
  assert.equal(setting(workerKeys({ ...none, vaultKey: 'c' })), 'environment');
  assert.throws(() => workerKeys(none), /cluster-key-file is needed/);
});
