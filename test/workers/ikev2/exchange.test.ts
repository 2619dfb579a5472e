import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { identityOf } from '../../../loadtest/spokes/fleet.ts';
import { Responder } from '../../../loadtest/spokes/responder.ts';
import { NOWHERE } from '../../../workers/base/address.ts';
import { Reply } from '../../../workers/base/reply.ts';
import { Ikev2Exchange } from '../../../workers/ikev2/exchange.ts';
import { Offset } from '../../../workers/ikev2/header.ts';
import { keyMaterial, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { IdUncertainty } from '../../../workers/takeover/id-uncertainty.ts';

const SEED = 'liveness-test';

/** A headend's session with a simulated spoke, and the spoke. */
function pair(spoke: number, { nextMid = 0, wrongKey = false } = {}) {
  const identity = identityOf(SEED, spoke, 0);
  const sessions = new SessionTable();
  const keys = wrongKey
    ? { ...identity, skEi: identity.skEi.map((byte) => byte ^ 1), skAi: identity.skAi.map((byte) => byte ^ 1) }
    : identity;
  sessions.add({
    handle: 0,
    spi: identity.spi,
    headendIsInitiator: false,
    address: NOWHERE,
    port: 4500,
    nextMid,
    keys: { suite: identity.suite.index, material: keyMaterial(identity.suite, false, keys) },
  });
  let random = 1;
  const exchange = new Ikev2Exchange(sessions, (bytes, from, to) => bytes.fill(random++, from, to));
  const responder = new Responder(SEED, spoke + 1);
  const request = (offset = 0) => {
    const message = Buffer.alloc(exchange.length(0));
    exchange.write(0, offset, message);
    return message;
  };
  const answer = (message: Buffer) => {
    const response = responder.answer(message);
    return response && Buffer.from(response);
  };
  return { sessions, exchange, ids: new IdUncertainty(sessions), responder, request, answer };
}

for (const [spoke, suite] of SUITES.entries())
  test(`${suite.cipher} with ${suite.hash || 'AEAD'}, ICV ${suite.icvLength}: asked, answered, next id`, () => {
    const { sessions, exchange, request, answer } = pair(spoke);
    for (let mid = 0; mid < 3; mid++) {
      assert.equal(exchange.begin(0), false);
      const response = answer(request());
      assert(response, 'the spoke refused the request');
      assert.equal(exchange.receive(response), Reply.ALIVE);
      assert.equal(sessions.nextMid[0], mid + 1);
    }
  });

test('a retransmission is bit for bit the same, and a new exchange is not', () => {
  const { exchange, request, answer } = pair(0);
  exchange.begin(0);
  const first = request();
  assert.equal(exchange.begin(0), true);
  assert.deepEqual(request(), first);
  exchange.receive(answer(first)!);
  exchange.begin(0);
  assert.notDeepEqual(request(), first);
});

describe('what is no proof of life', () => {
  test('a forged reply: any bit changed', () => {
    for (const spoke of [0, 14, 18]) {
      const { exchange, request, answer } = pair(spoke);
      exchange.begin(0);
      const genuine = answer(request())!;
      fc.assert(
        fc.property(fc.nat(genuine.length * 8 - 1), (bit) => {
          const forged = Buffer.from(genuine);
          forged[bit >> 3]! ^= 1 << (bit & 7);
          const reply = exchange.receive(forged);
          assert(reply !== Reply.ALIVE, `bit ${bit} made ${reply}`);
        }),
      );
      assert.equal(exchange.receive(genuine), Reply.ALIVE);
    }
  });

  test('a replayed reply', () => {
    const { exchange, request, answer } = pair(0);
    exchange.begin(0);
    const genuine = answer(request())!;
    assert.equal(exchange.receive(genuine), Reply.ALIVE);
    assert.equal(exchange.receive(genuine), Reply.REPLAYED);
    exchange.begin(0);
    assert.equal(exchange.receive(genuine), Reply.REPLAYED);
  });

  test('a reply nobody asked for, and our own request reflected', () => {
    const { exchange, request } = pair(0);
    exchange.begin(0);
    const mine = request();
    assert.equal(exchange.receive(mine), Reply.MALFORMED);
    const reflected = Buffer.from(mine);
    reflected[Offset.FLAGS]! |= 0x20;
    assert.equal(exchange.receive(reflected), Reply.FORGED);
  });

  test('a reply from another SA', () => {
    const { exchange, request } = pair(0);
    const other = pair(1);
    exchange.begin(0);
    request();
    other.exchange.begin(0);
    assert.equal(exchange.receive(other.answer(other.request())!), Reply.UNKNOWN_SA);
  });

  test('a spoke with another key', () => {
    const { exchange, request, answer } = pair(0, { wrongKey: true });
    exchange.begin(0);
    const response = answer(request())!;
    assert.equal(exchange.receive(response), Reply.FORGED);
  });
});

describe('after a takeover', () => {
  for (const ahead of [0, 1, 2, 3, 4])
    test(`the peer is ${ahead} ids ahead of the checkpoint: it answers one of four possible ids, and moves on by one`, () => {
      const { sessions, exchange, ids, request, answer, responder } = pair(0);
      const ask = () => {
        exchange.begin(0);
        return exchange.receive(answer(request())!);
      };
      for (let n = 0; n < ahead; n++) ask();
      assert(responder.answered === ahead);
      sessions.nextMid[0] = 0;
      ids.set(0, 4);
      exchange.begin(0);
      const results: Reply[] = [];
      for (let offset = ids.possibleIds(0) - 1; offset >= 0 && results.length === 0; offset--) {
        const reply = answer(request(offset));
        if (reply) results.push(exchange.receive(reply));
      }
      assert.deepEqual(results, [Reply.ALIVE]);
      // The fourth possible id, if it was answered before, is answered again.
      const next = Math.min(ahead + 1, 4);
      assert.equal(sessions.nextMid[0], next);
      assert.equal(ids.possibleIds(0), next < 3 ? 2 : 1);
      assert.equal(responder.answered, ahead + 1);
    });

  test('possible ids become twice as many, 16 at most, and only where the next one is uncertain', () => {
    const { ids } = pair(0);
    const widened = (possibleIds: number) => {
      ids.set(0, possibleIds);
      return Array.from({ length: 3 }, () => {
        ids.widen(0);
        return ids.possibleIds(0);
      });
    };
    assert.deepEqual(widened(1), [1, 1, 1]);
    assert.deepEqual(widened(3), [6, 12, 16]);
    assert.deepEqual(widened(40), [40, 40, 40]);
  });

  test('a recorded answer to a former owner counts once', () => {
    const { sessions, exchange, ids, request, answer } = pair(0);
    exchange.begin(0);
    const recorded = answer(request())!;
    exchange.receive(recorded);
    sessions.nextMid[0] = 0;
    ids.set(0, 4);
    exchange.begin(0);
    assert.equal(exchange.receive(recorded), Reply.ALIVE);
    exchange.begin(0);
    assert.equal(exchange.receive(recorded), Reply.REPLAYED);
    assert.deepEqual([sessions.nextMid[0], ids.possibleIds(0)], [1, 2]);
  });
});
