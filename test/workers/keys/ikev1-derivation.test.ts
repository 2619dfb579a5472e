import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { IKEV1_SUITES } from '../../../workers/ikev1/suites.ts';
import { deriveIkev1Keys } from '../../../workers/keys/ikev1-derivation.ts';

const bytes = (text: string, length: number) => createHash('shake256', { outputLength: length }).update(text).digest();
const INPUTS = {
  nonceI: bytes('nonce of the initiator', 32),
  nonceR: bytes('nonce of the responder', 20),
  secret: bytes('g^xy', 128),
  cookieI: bytes('cookie of the initiator', 8),
  cookieR: bytes('cookie of the responder', 8),
};
const PSK = Buffer.from('labsecret');

describe('keys of IKEv1', () => {
  for (const suite of IKEV1_SUITES)
    test(`${suite.cipher} with ${suite.hash}, by RFC 2409 section 5 and appendix B`, () => {
      const prf = (key: Buffer, text: string) => createHmac(suite.hash, key).update(Buffer.from(text, 'hex')).digest();
      const { nonceI, nonceR, secret, cookieI, cookieR } = INPUTS;
      const nonces = nonceI.toString('hex') + nonceR.toString('hex');
      const rest = secret.toString('hex') + cookieI.toString('hex') + cookieR.toString('hex');
      for (const [preSharedKey, skeyid] of [
        [PSK, prf(PSK, nonces)],
        [undefined, prf(Buffer.from(nonces, 'hex'), secret.toString('hex'))],
      ] as const) {
        const d = prf(skeyid, `${rest}00`);
        const a = prf(skeyid, `${d.toString('hex')}${rest}01`);
        const e = prf(skeyid, `${a.toString('hex')}${rest}02`);
        const k1 = prf(e, '00');
        const k2 = prf(e, k1.toString('hex'));
        const long = e.length >= suite.keyLength ? e : Buffer.concat([k1, k2]);
        const derived = deriveIkev1Keys(suite, { preSharedKey, ...INPUTS });
        assert.deepEqual(Buffer.from(derived.skeyidA), a);
        assert.deepEqual(Buffer.from(derived.encryptionKey), long.subarray(0, suite.keyLength));
      }
    });
});
