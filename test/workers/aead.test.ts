import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Aead, aead, NodeAead } from '../../workers/aead.ts';
import { SUITES } from '../../workers/ike/algorithms.ts';
import { EvpAead } from '../../workers/native/evp.ts';

const ROOM = 100;
const ciphers = SUITES.filter((suite) => suite.aead).map(({ cipher, keyLength, icvLength }) => ({
  cipher,
  key: keyLength,
  nonce: 12,
  header: ROOM,
  text: ROOM,
  tag: icvLength,
}));

test('property: OpenSSL called directly seals and opens as cipher objects of Node do, whatever was done before', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const any = fc.uint8Array({ maxLength: ROOM });
  for (const shape of ciphers) {
    const direct = aead(shape);
    assert(direct instanceof EvpAead, 'this Node can call OpenSSL');
    const plain = new NodeAead(shape);
    const run = (
      cipher: Aead,
      [key, nonce, header, text, damage]: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array, number],
    ) => {
      cipher.key.set(key);
      cipher.nonce.set(nonce);
      cipher.header.set(header);
      cipher.text.set(text);
      cipher.seal(text.length, header.length);
      const sealed = Buffer.concat([cipher.text.subarray(0, text.length), cipher.tag]);
      assert(cipher.open(text.length, header.length));
      assert.deepEqual(cipher.text.subarray(0, text.length), Buffer.from(text));
      // Any bit of text, tag or header changed.
      const parts = [cipher.text.subarray(0, text.length), cipher.tag, cipher.header.subarray(0, header.length)];
      cipher.text.set(sealed.subarray(0, text.length));
      let at = damage % parts.reduce((sum, { length }) => sum + length, 0);
      for (const part of parts) {
        if (at >= 0 && at < part.length) part[at]! ^= 1 << (damage % 8);
        at -= part.length;
      }
      assert.equal(cipher.open(text.length, header.length), false);
      return sealed;
    };
    fc.assert(
      fc.property(fc.tuple(bytes(shape.key), bytes(shape.nonce), any, any, fc.nat()), (message) => {
        assert.deepEqual(run(direct, message), run(plain, message));
      }),
    );
  }
});
