import assert from 'node:assert/strict';
import { createHmac, hkdfSync } from 'node:crypto';
import { test } from 'node:test';
import { MAC_CHECK } from '../../../services/store/keys.ts';
import { checkMac, RecordMac } from '../../../services/store/record-mac.ts';
import { SettingsError } from '../../../workers/base/errors.ts';
import { privateRedis } from '../../private-redis.ts';

const [OLD, YOUNG] = [1, 2].map((n) => Buffer.alloc(32, n)) as [Buffer, Buffer];
const RECORD = Buffer.from('a record');

test('a record opens at its own place, as it was written, and nowhere else', () => {
  const mac = new RecordMac([OLD]);
  const sealed = mac.seal('place', RECORD);
  assert.deepEqual(mac.open('place', sealed), RECORD);
  assert.equal(mac.open('plac', Buffer.concat([sealed.subarray(0, 16), Buffer.from('e\0a record')])), undefined);
  assert.equal(mac.open('other', sealed), undefined);
  assert.equal(new RecordMac([YOUNG]).open('place', sealed), undefined);
  for (let at = 0; at < sealed.length; at++) {
    const spoiled = Buffer.from(sealed);
    spoiled[at]! ^= 1;
    assert.equal(mac.open('place', spoiled), undefined, `byte ${at}`);
  }
  for (let length = 0; length < sealed.length; length++)
    assert.equal(mac.open('place', sealed.subarray(0, length)), undefined, `${length} bytes`);
});

test('it is half an HMAC-SHA-256 under a key that HKDF derives', () => {
  const key = Buffer.from(hkdfSync('sha256', OLD, '', 'dpd record mac', 32));
  const expected = createHmac('sha256', key).update('place\0a record').digest().subarray(0, 16);
  assert.deepEqual(new RecordMac([OLD]).seal('place', RECORD).subarray(0, 16), expected);
});

test('texts keep every character', () => {
  const mac = new RecordMac([OLD]);
  for (const text of ['', '{}', 'Grüße, 世界 🔑']) assert.equal(mac.openText('bus', mac.sealText('bus', text)), text);
  for (const text of ['', 'x', '{}', 'A'.repeat(22), `${'='.repeat(22)}{}`])
    assert.equal(mac.openText('bus', text), undefined);
});

test('the first key makes them, all are taken, and what was made with another is known', () => {
  const sealed = new RecordMac([OLD]).seal('place', RECORD);
  const both = new RecordMac([YOUNG, OLD]);
  assert.equal(both.rotating, true);
  assert.equal(both.madeWith('place', sealed), 'another key');
  assert.equal(both.madeWith('place', both.seal('place', RECORD)), 'first key');
  both.use([YOUNG]);
  assert.equal(both.madeWith('place', sealed), undefined);
  assert.throws(() => both.use([]), RangeError);
});

test('what is longer than any record is none, and is not written', () => {
  const mac = new RecordMac([OLD]);
  const long = Buffer.alloc(131_072);
  assert.equal(mac.open('place', Buffer.concat([Buffer.alloc(16), long])), undefined);
  assert.throws(() => mac.seal('place', long), RangeError);
});

test('a process with another key than the others does not start; after a rotation the old key is forgotten', async (t) => {
  const redis = await privateRedis(t);
  await checkMac(new RecordMac([OLD]), redis);
  await assert.rejects(checkMac(new RecordMac([YOUNG]), redis), SettingsError);
  await checkMac(new RecordMac([OLD, YOUNG]), redis);
  await checkMac(new RecordMac([YOUNG, OLD]), redis);
  await checkMac(new RecordMac([YOUNG]), redis);
  await assert.rejects(checkMac(new RecordMac([OLD]), redis), SettingsError);
  await redis.set(MAC_CHECK, 'junk');
  await assert.rejects(checkMac(new RecordMac([YOUNG]), redis), SettingsError);
});
