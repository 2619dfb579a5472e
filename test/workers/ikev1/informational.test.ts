import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fastestPrfCbc, NodePrfCbc, type PrfCbc, type PrfCbcShape } from '../../../workers/crypto/prf-cbc.ts';
import {
  Content,
  dpdLength,
  found,
  isInformationalV1,
  Notify,
  openInformational,
  sealDpd,
} from '../../../workers/ikev1/informational.ts';
import { IKEV1_SUITES, type Ikev1Suite } from '../../../workers/ikev1/suites.ts';
import { informational, notification, payload } from './by-hand.ts';

const COOKIES = Buffer.from('0123456789abcdeffedcba9876543210', 'hex');

function keysOf({ keyLength, hashLength, blockLength }: Ikev1Suite, seed = 1) {
  const bytes = (length: number, at: number) =>
    Buffer.from(Array.from({ length }, (_, n) => (n * 7 + at * seed) & 255));
  return { encryptionKey: bytes(keyLength, 11), skeyidA: bytes(hashLength, 101), phase1Block: bytes(blockLength, 201) };
}

function plainOf(suite: Ikev1Suite, messageId: number) {
  const { encryptionKey, skeyidA, phase1Block } = keysOf(suite);
  const { cipher, hash } = suite;
  return { cipher, hash, key: encryptionKey, skeyidA, lastBlock: phase1Block, cookies: COOKIES, messageId };
}

function ours(suite: Ikev1Suite, type: Notify, sequence: number, messageId: number): Buffer {
  const message = Buffer.alloc(dpdLength(suite), 0xee);
  COOKIES.copy(message, 4);
  sealDpd(suite, keysOf(suite), type, sequence, messageId, message);
  return message;
}

for (const suite of IKEV1_SUITES)
  test(`${suite.cipher} with ${suite.hash}: R-U-THERE is what RFC 2409 and RFC 3706 say`, () => {
    for (const messageId of [1, 0x80000000, 0xffffffff]) {
      const expected = informational(plainOf(suite, messageId), notification(COOKIES, 36136, 0x12345678));
      assert.deepEqual(ours(suite, Notify.R_U_THERE, 0x12345678, messageId), expected);
      assert(isInformationalV1(expected));
      assert.equal(openInformational(suite, keysOf(suite), expected), Content.R_U_THERE);
      assert.equal(found.sequence, 0x12345678);
    }
  });

test('a known answer: AES-128, SHA-1', () => {
  const suite = IKEV1_SUITES.find(({ cipher, hash }) => cipher === 'aes-128-cbc' && hash === 'sha1')!;
  assert.equal(ours(suite, Notify.R_U_THERE_ACK, 7, 0xcafebabe).toString('hex'), KNOWN);
});
/** Made with Python's hmac and the openssl command. */
const KNOWN =
  '000000000123456789abcdeffedcba987654321008100501cafebabe0000005cf351c78beaa3878be5705b96041e89603985005995ceb1993a60adf25907' +
  'a259daf5063bc953929bfa5ff7f9550ca9acba834b480c573f89347d68cd2217b104';

for (const suite of IKEV1_SUITES.filter((_, n) => n % 3 === 0))
  test(`${suite.cipher} with ${suite.hash}: any change makes it a forgery, or no message`, () => {
    const good = ours(suite, Notify.R_U_THERE_ACK, 9, 77);
    fc.assert(
      fc.property(fc.nat(good.length * 8 - 1), (bit) => {
        const changed = Buffer.from(good);
        changed[bit >> 3]! ^= 1 << (bit & 7);
        // The cookies name the keys: the table of sessions finds none for others.
        const inCookies = bit >= 32 && bit < 160;
        if (inCookies || !isInformationalV1(changed)) return true;
        const content = openInformational(suite, keysOf(suite), changed);
        // Padding is not signed (RFC 2409 section 5.7): a change there changes nothing that counts.
        return content === Content.FORGED || (content === Content.ACK && found.sequence === 9);
      }),
    );
    assert.equal(openInformational(suite, keysOf(suite, 3), good), Content.FORGED, 'opened with other keys');
  });

test('any bytes under a right header are opened without harm', () => {
  fc.assert(
    fc.property(fc.nat(IKEV1_SUITES.length - 1), fc.uint8Array({ minLength: 1, maxLength: 400 }), (n, bytes) => {
      const suite = IKEV1_SUITES[n]!;
      const message = Buffer.concat([ours(suite, Notify.R_U_THERE, 1, 5).subarray(0, 32), bytes]);
      message.writeUInt32BE(message.length - 4, 28);
      assert(isInformationalV1(message));
      return openInformational(suite, keysOf(suite), message) === Content.FORGED;
    }),
  );
});

test('any authentic content is read without harm, and only a DPD notification counts as one', () => {
  fc.assert(
    fc.property(fc.nat(IKEV1_SUITES.length - 1), fc.uint8Array({ maxLength: 300 }), fc.nat(255), (n, bytes, first) => {
      const suite = IKEV1_SUITES[n]!;
      const message = informational(plainOf(suite, 3), Buffer.from(bytes), first);
      const content = openInformational(suite, keysOf(suite), message);
      return content === Content.FORGED || content === Content.OTHER;
    }),
  );
});

test('what is not DPD is something else: a Delete, another notification, a wrong size', () => {
  const suite = IKEV1_SUITES[0]!;
  const read = (payloads: Buffer, first?: number) =>
    openInformational(suite, keysOf(suite), informational(plainOf(suite, 3), payloads, first));
  assert.equal(read(payload(0, Buffer.from('00000001010400010123456789abcdef', 'hex')), 12), Content.OTHER);
  assert.equal(read(notification(COOKIES, 24578, 1)), Content.OTHER);
  assert.equal(read(payload(0, Buffer.alloc(8))), Content.OTHER);
  const withMore = Buffer.concat([notification(COOKIES, 36137, 4, 13), payload(0, Buffer.alloc(16))]);
  assert.equal(read(withMore), Content.ACK, 'another payload behind the notification is allowed');
  assert.equal(found.sequence, 4);
});

test('a header that is not one of an encrypted Informational is refused', () => {
  const good = ours(IKEV1_SUITES[0]!, Notify.R_U_THERE, 1, 5);
  const spoiled = (at: number, value: number) => {
    const message = Buffer.from(good);
    message[at] = value;
    return message;
  };
  assert(isInformationalV1(good));
  assert(!isInformationalV1(spoiled(0, 1)), 'the marker');
  assert(!isInformationalV1(spoiled(20, 11)), 'no hash first');
  assert(!isInformationalV1(spoiled(21, 0x20)), 'the version');
  assert(!isInformationalV1(spoiled(22, 32)), 'the exchange');
  assert(!isInformationalV1(spoiled(23, 0)), 'not encrypted');
  assert(!isInformationalV1(spoiled(31, 1)), 'the length');
  assert(!isInformationalV1(ours(IKEV1_SUITES[0]!, Notify.R_U_THERE, 1, 0)), 'the message id of phase 1');
  assert(!isInformationalV1(good.subarray(0, 32)), 'no body');
});

test('OpenSSL called directly and Node’s own ciphers give the same', () => {
  for (const { cipher, hash, keyLength, hashLength, blockLength } of IKEV1_SUITES) {
    const shape: PrfCbcShape = { cipher, hash, key: keyLength, prfKey: hashLength, block: blockLength, message: 256 };
    const results = [fastestPrfCbc(shape), new NodePrfCbc(shape)].map((made: PrfCbc) => {
      const { key, prfKey, seed, text, signed, digest } = made.parts;
      for (const part of [key, prfKey, seed, text, signed]) part.fill(part.length);
      made.encrypt(96);
      made.sign(40);
      const sealed = [text.toString('hex'), digest.toString('hex', 0, hashLength)];
      made.decrypt(96);
      assert(text.every((byte) => byte === text.length % 256));
      return sealed;
    });
    assert.deepEqual(results[0], results[1], `${cipher} ${hash}`);
  }
});
