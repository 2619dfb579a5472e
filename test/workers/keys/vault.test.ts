import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { test } from 'node:test';
import { VaultError } from '../../../workers/base/errors.ts';
import { Vault } from '../../../workers/keys/vault.ts';

const vault = new Vault([Buffer.alloc(32, 1)]);

test('what is sealed opens, in its own place and with its own key only', () => {
  const record = vault.seal(Buffer.from('keys'), 'hub/1');
  assert.equal(String(vault.open(record, 'hub/1')), 'keys');
  assert.throws(() => vault.open(record, 'hub/2'), VaultError);
  assert.throws(() => new Vault([Buffer.alloc(32, 2)]).open(record, 'hub/1'), VaultError);
  record[20]! ^= 1;
  assert.throws(() => vault.open(record, 'hub/1'), VaultError);
  assert(!vault.seal(Buffer.from('keys'), '').includes('keys'));
});

test('nothing is cut off: a record or a place that is too long is refused', () => {
  const [most, more] = ['x'.repeat(1_024), `${'x'.repeat(1_023)}é`];
  assert.equal(String(vault.open(vault.seal(Buffer.from(most), most), most)), most);
  assert.throws(() => vault.seal(Buffer.from(more), 'hub/1'), RangeError);
  assert.throws(() => vault.seal(Buffer.from('keys'), more), RangeError);
});

test('what a release with a single key has sealed is opened by whichever key it was', () => {
  // Version 1: nonce, text and tag, by AES-256-GCM with the place as header.
  const nonce = Buffer.alloc(12, 7);
  const cipher = createCipheriv('aes-256-gcm', Buffer.alloc(32, 1), nonce).setAAD(Buffer.from('hub/1'));
  const record = Buffer.concat([Buffer.of(1), nonce, cipher.update('keys'), cipher.final(), cipher.getAuthTag()]);
  const several = new Vault([Buffer.alloc(32, 2), Buffer.alloc(32, 1)]);
  assert.equal(String(several.open(record, 'hub/1')), 'keys');
  assert.equal(several.isSealedAnew(record), false);
  assert.throws(() => new Vault([Buffer.alloc(32, 2)]).open(record, 'hub/1'), VaultError);
});

test('a vault needs keys, of 32 bytes each', () => {
  assert.throws(() => new Vault([]), RangeError);
  assert.throws(() => new Vault([Buffer.alloc(32), Buffer.alloc(31)]), RangeError);
});
