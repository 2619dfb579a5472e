import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { decodeHa } from '../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { isInformational, Offset } from '../../../workers/ikev2/header.ts';
import { type DirectionKeys, open, seal, sealedLength } from '../../../workers/ikev2/sk-payload.ts';
import { Encryption, findSuite, type Suite } from '../../../workers/ikev2/suites.ts';
import { deriveKeys } from '../../../workers/keys/derivation.ts';

/** Made by test/fixtures/capture.ts: messages between two stock strongSwan, and the keys that charon logged. */
const EXCHANGES = JSON.parse(readFileSync(new URL('../../fixtures/ike-messages.json', import.meta.url), 'utf8')) as {
  proposal: string;
  keys: Record<'SK_d' | 'SK_ai' | 'SK_ar' | 'SK_ei' | 'SK_er', string>;
  ikeAdd: string;
  request: string;
  response: string;
}[];

const hex = (text: string) => Buffer.from(text, 'hex');

function direction(suite: Suite, ske: string, ska: string): DirectionKeys {
  const key = hex(ske);
  return {
    encryption: key.subarray(0, suite.keyLength),
    salt: key.subarray(suite.keyLength),
    integrity: hex(ska),
  };
}

for (const { proposal, keys, ikeAdd, request, response } of EXCHANGES)
  describe(proposal, () => {
    const message = decodeHa(hex(ikeAdd));
    const suite = findSuite(message.encryption!, message.integrity ?? 0, hex(keys.SK_ei).length)!;
    const initiator = direction(suite, keys.SK_ei, keys.SK_ai);
    const responder = direction(suite, keys.SK_er, keys.SK_ar);

    test('the keys derived from the ha feed are those that charon logged', () => {
      const { nonceI, nonceR, secret, prf, ikeId } = message;
      const derived = deriveKeys(suite, {
        prf: prf!,
        nonceI: nonceI!,
        nonceR: nonceR!,
        secret: secret!,
        spiI: ikeId!.spiI,
        spiR: ikeId!.spiR,
      });
      assert.deepEqual(
        [derived.skD, derived.skAi, derived.skAr, derived.skEi, derived.skEr].map((key) =>
          Buffer.from(key).toString('hex'),
        ),
        [keys.SK_d, keys.SK_ai, keys.SK_ar, keys.SK_ei, keys.SK_er],
      );
    });

    test('a request of charon’s and its answer are authentic', () => {
      assert(isInformational(hex(request), false) && isInformational(hex(response), true));
      assert(open(suite, initiator, hex(request)));
      assert(open(suite, responder, hex(response)));
      assert(!open(suite, responder, hex(request)), 'opened with the other direction’s keys');
    });

    test('sealed by us, the same header and IV give charon’s bytes', () => {
      const theirs = hex(request);
      const ours = Buffer.alloc(sealedLength(suite));
      assert.equal(ours.length, theirs.length);
      theirs.copy(ours, 0, 0, Offset.BODY + suite.ivLength);
      seal(suite, initiator, ours);
      // The content of CBC padding is the sender's choice (RFC 7296 section 3.14), and charon's is random.
      if (suite.encryption === Encryption.AES_CBC) assert(open(suite, initiator, ours));
      else assert.deepEqual(ours, theirs);
    });
  });
