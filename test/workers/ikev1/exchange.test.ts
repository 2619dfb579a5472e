import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { FIRST_SEQUENCE, identityOf } from '../../../loadtest/spokes/fleet.ts';
import { ikev1KeysOf } from '../../../loadtest/spokes/ikev1.ts';
import { Responder } from '../../../loadtest/spokes/responder.ts';
import { NOWHERE } from '../../../workers/base/address.ts';
import { Reply } from '../../../workers/base/reply.ts';
import { pooledRandom } from '../../../workers/crypto/random.ts';
import { Ikev1Exchange } from '../../../workers/ikev1/exchange.ts';
import { IKEV1_SUITES, ikev1Material } from '../../../workers/ikev1/suites.ts';
import { SEALED, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { informational, notification } from './by-hand.ts';

const SEED = 'dpd-test';

/** A headend's session with a simulated spoke, which takes no number twice, and the spoke. */
function pair(n = 3) {
  const suite = IKEV1_SUITES[n]!;
  const sessions = new SessionTable();
  const keys = ikev1KeysOf(SEED, 0, 0, suite);
  sessions.add({
    handle: 0,
    spi: identityOf(SEED, 0, 0, suite.index).spi,
    ikev1: true,
    headendIsInitiator: false,
    address: NOWHERE,
    port: 4500,
    nextMid: FIRST_SEQUENCE,
    keys: { suite: suite.index, material: ikev1Material(suite, keys) },
  });
  const exchange = new Ikev1Exchange(sessions, pooledRandom());
  const responder = new Responder(SEED, 1, suite.index);
  const ask = (offset = exchange.offset(0)) => {
    const message = Buffer.alloc(exchange.length(0));
    exchange.write(0, offset, message);
    return message;
  };
  const answer = (message: Buffer) => {
    const given = responder.answer(message);
    return given && Buffer.from(given);
  };
  /** A message of the spoke's, with this type and number. */
  const said = (type: number, number: number) => {
    const { cipher, hash } = suite;
    const { encryptionKey, skeyidA, phase1Block } = keys;
    const cookies = ask().subarray(4, 20);
    return informational(
      {
        cipher,
        hash,
        key: Buffer.from(encryptionKey),
        skeyidA: Buffer.from(skeyidA),
        lastBlock: Buffer.from(phase1Block),
        cookies,
        messageId: 99,
      },
      notification(cookies, type, number),
    );
  };
  return { sessions, exchange, ask, answer, said };
}

for (const [n, { cipher, hash }] of IKEV1_SUITES.entries())
  test(`${cipher} with ${hash}: asked, acknowledged, next number`, () => {
    const { sessions, exchange, ask, answer } = pair(n);
    for (let asked = 0; asked < 3; asked++) {
      assert.equal(exchange.begin(0), false);
      const acknowledged = answer(ask());
      assert(acknowledged, 'the spoke refused the question');
      assert.equal(exchange.receive(acknowledged), Reply.ALIVE);
      assert.equal(exchange.handle, 0);
      assert.equal(sessions.nextMid[0], FIRST_SEQUENCE + asked + 1);
    }
  });

test('every question has a number and a message id of its own', () => {
  const { exchange, ask } = pair();
  const ids = new Set<string>();
  for (let n = 0; n < 200; n++) {
    assert.equal(exchange.begin(0), n > 0);
    ids.add(ask().toString('hex', 24, 28));
  }
  assert.equal(ids.size, 200);
});

test('an acknowledgement of an earlier question of the same suspicion counts, and numbers go on behind the last', () => {
  const { sessions, exchange, ask, answer } = pair();
  exchange.begin(0);
  const first = answer(ask())!;
  exchange.begin(0);
  ask();
  exchange.begin(0);
  const third = answer(ask())!;
  assert.equal(exchange.receive(first), Reply.ALIVE);
  assert.equal(sessions.nextMid[0], FIRST_SEQUENCE + 3);
  assert.equal(exchange.receive(third), Reply.REPLAYED, 'nothing was asked since');
  exchange.begin(0);
  assert.equal(exchange.receive(third), Reply.REPLAYED, 'an old one');
});

test('a peer that never answers is asked for years, and its answer still counts', () => {
  const { exchange, ask, answer } = pair();
  for (let n = 0; n < 5_000; n++) exchange.begin(0);
  assert.equal(exchange.receive(answer(ask())!), Reply.ALIVE);
});

describe('what is no proof of life', () => {
  const R_U_THERE = 36136;
  const ACK = 36137;

  test('an acknowledgement twice, of no question, of a number not asked, before a question', () => {
    const { exchange, ask, answer, said } = pair();
    assert.equal(exchange.receive(said(ACK, FIRST_SEQUENCE)), Reply.REPLAYED, 'nothing was asked');
    exchange.begin(0);
    assert.equal(exchange.receive(said(ACK, FIRST_SEQUENCE + 1)), Reply.REPLAYED, 'too high');
    assert.equal(exchange.receive(said(ACK, FIRST_SEQUENCE - 1)), Reply.REPLAYED, 'too low');
    assert.equal(exchange.receive(said(ACK, FIRST_SEQUENCE + 0x80000000)), Reply.REPLAYED, 'the top bit');
    const acknowledged = answer(ask())!;
    assert.equal(exchange.receive(acknowledged), Reply.ALIVE);
    assert.equal(exchange.receive(acknowledged), Reply.REPLAYED);
  });

  test('a question of the spoke’s; and our own, sent back, which must not reach the daemon', () => {
    const { exchange, ask, said } = pair();
    exchange.begin(0);
    assert.equal(exchange.receive(said(R_U_THERE, 5)), Reply.REPLAYED);
    assert.equal(exchange.receive(ask()), Reply.TAKEN);
  });

  test('a forged one: any bit changed', () => {
    const { exchange, ask, answer } = pair();
    exchange.begin(0);
    const genuine = answer(ask())!;
    const signed = 32 + 4 + 20 + 32;
    fc.assert(
      fc.property(fc.nat(signed * 8 - 1), (bit) => {
        const forged = Buffer.from(genuine);
        forged[bit >> 3]! ^= 1 << (bit & 7);
        return exchange.receive(forged) !== Reply.ALIVE;
      }),
    );
    assert.equal(exchange.receive(genuine), Reply.ALIVE);
  });

  test('one on an SA without keys, with sealed ones, or of IKEv2', () => {
    const { exchange, ask, answer, sessions } = pair();
    exchange.begin(0);
    const genuine = answer(ask())!;
    const spi = sessions.spi(0);
    const as = (input: object) => {
      sessions.remove(0);
      const bare = { handle: 0, spi, headendIsInitiator: false, address: NOWHERE, port: 4500, nextMid: 1 };
      sessions.add({ ...bare, ...input });
      return exchange.receive(genuine);
    };
    assert.equal(as({ ikev1: true }), Reply.REPLAYED);
    assert.equal(as({ ikev1: true, keys: SEALED }), Reply.REPLAYED);
    assert.equal(as({}), Reply.UNKNOWN_SA);
  });
});

test('after a takeover numbers go on above all that the former owner can have used', () => {
  const { sessions, exchange, ask, answer } = pair();
  // The former owner asked once each retry interval, without an answer; its last checkpoint is 4 s old.
  for (let n = 0; n < 22; n++) {
    exchange.begin(0);
    answer(ask());
  }
  sessions.nextMid[0] = FIRST_SEQUENCE;
  sessions.uncertainty[0] = 1;
  exchange.skip(0, 4_000);
  assert.equal(exchange.begin(0), false);
  assert.equal(exchange.receive(answer(ask())!), Reply.ALIVE);
});
