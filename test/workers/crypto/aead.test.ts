import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Aead } from '../../../workers/crypto/aead.ts';
import { evpAead } from '../../../workers/crypto/evp.ts';
import { fastestAead } from '../../../workers/crypto/fastest-aead.ts';
import { nodeAead } from '../../../workers/crypto/node-aead.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';

const HEADER = 48;
const BLOCKS = 6;
const ciphers = SUITES.map((suite) => ({
  ...suite,
  shape: {
    cipher: suite.cipher,
    hash: suite.hash,
    key: suite.keyLength,
    integrityKey: suite.integrityKeyLength,
    nonce: suite.saltLength + suite.ivLength,
    header: HEADER,
    text: BLOCKS * suite.blockLength,
    tag: suite.icvLength,
  },
}));

test('property: OpenSSL called directly seals and opens as cipher objects of Node do, whatever was done before', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  for (const { shape, blockLength } of ciphers) {
    const direct = evpAead(shape);
    assert(direct, 'this Node can call OpenSSL');
    assert.equal(fastestAead(shape).constructor, direct.constructor);
    const plain = nodeAead(shape);
    const run = (
      cipher: Aead,
      [keys, nonce, header, text, damage]: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array, number],
    ) => {
      const { parts } = cipher;
      parts.key.set(keys.subarray(0, shape.key));
      parts.integrityKey.set(keys.subarray(shape.key));
      parts.nonce.set(nonce);
      parts.header.set(header);
      parts.text.set(text);
      cipher.seal(text.length, header.length);
      const sealed = Buffer.concat([parts.text.subarray(0, text.length), parts.tag]);
      assert(cipher.open(text.length, header.length));
      assert.deepEqual(parts.text.subarray(0, text.length), Buffer.from(text));
      // Any bit of text, tag or header changed.
      const sealedParts = [parts.text.subarray(0, text.length), parts.tag, parts.header.subarray(0, header.length)];
      parts.text.set(sealed.subarray(0, text.length));
      let at = damage % sealedParts.reduce((sum, { length }) => sum + length, 0);
      for (const part of sealedParts) {
        if (at >= 0 && at < part.length) part[at]! ^= 1 << (damage % 8);
        at -= part.length;
      }
      assert.equal(cipher.open(text.length, header.length), false);
      return sealed;
    };
    const texts = fc.integer({ min: 1, max: BLOCKS }).chain((blocks) => bytes(blocks * blockLength));
    // In CBC mode the header is always as long as it can be.
    const headers = shape.hash === '' ? fc.uint8Array({ maxLength: HEADER }) : bytes(HEADER);
    fc.assert(
      fc.property(
        fc.tuple(bytes(shape.key + shape.integrityKey), bytes(shape.nonce), headers, texts, fc.nat()),
        (message) => {
          assert.deepEqual(run(direct, message), run(plain, message));
        },
      ),
    );
  }
});
