import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evpHmac, fastestHmac, nodeHmac } from '../../../workers/crypto/hmac-sha256.ts';

/** RFC 4231 section 4.3, its key with the zeros that HMAC adds anyway. */
const KEY = Buffer.from('Jefe'.padEnd(32, '\0'));
const TEXT = 'what do ya want for nothing?';
const EXPECTED = '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843';

for (const [name, hmac] of [
  ['the fastest', fastestHmac(64)],
  ['Node’s own', nodeHmac(64)],
] as const) {
  test(`${name}: a known answer, and only of the text’s length`, () => {
    KEY.copy(hmac.key);
    hmac.text.fill(0xff);
    hmac.text.write(TEXT);
    assert.equal(hmac.digest(TEXT.length).toString('hex'), EXPECTED);
    assert.notEqual(hmac.digest(TEXT.length + 1).toString('hex'), EXPECTED);
  });

  test(`${name}: no text beyond its room is read`, () => {
    for (const length of [65, -1, Number.NaN]) assert.throws(() => hmac.digest(length), RangeError);
  });
}

test('both give the same for every length', { skip: evpHmac(1) ? false : 'OpenSSL cannot be called here' }, () => {
  const [native, own] = [evpHmac(300)!, nodeHmac(300)];
  for (const { key, text } of [native, own]) {
    key.fill(3);
    text.forEach((_, n) => {
      text[n] = n;
    });
  }
  for (let length = 0; length <= 300; length++) assert.deepEqual(native.digest(length), own.digest(length));
});
