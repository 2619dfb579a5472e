import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { identityOf } from '../../../loadtest/spokes/fleet.ts';
import { Responder } from '../../../loadtest/spokes/responder.ts';
import { Liveness, Reply } from '../../../workers/ikev2/exchange.ts';
import { GUARD_MARKER, Offset } from '../../../workers/ikev2/header.ts';
import { keyMaterial, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';

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
    address: 0,
    port: 4500,
    nextMid,
    keys: { suite: identity.suite.index, material: keyMaterial(identity.suite, false, keys) },
  });
  let random = 1;
  const liveness = new Liveness(sessions, (bytes, from, to) => bytes.fill(random++, from, to));
  const responder = new Responder(SEED, spoke + 1);
  const request = (offset = 0, guarded = false) => {
    const message = Buffer.alloc(liveness.length(0));
    liveness.write(0, offset, guarded, message);
    return message;
  };
  const answer = (message: Buffer) => {
    const response = responder.answer(message);
    return response && Buffer.from(response);
  };
  return { sessions, liveness, responder, request, answer };
}

for (const [spoke, suite] of SUITES.entries())
  test(`${suite.cipher} with ${suite.hash || 'AEAD'}, ICV ${suite.icvLength}: asked, answered, next id`, () => {
    const { sessions, liveness, request, answer } = pair(spoke);
    for (let mid = 0; mid < 3; mid++) {
      assert.equal(liveness.begin(0), false);
      const response = answer(request());
      assert(response, 'the spoke refused the request');
      assert.equal(liveness.receive(response), Reply.ALIVE);
      assert.equal(sessions.nextMid[0], mid + 1);
    }
  });

test('a retransmission is bit for bit the same, and a new exchange is not', () => {
  const { liveness, request, answer } = pair(0);
  liveness.begin(0);
  const first = request();
  assert.equal(liveness.begin(0), true);
  assert.deepEqual(request(), first);
  liveness.receive(answer(first)!);
  liveness.begin(0);
  assert.notDeepEqual(request(), first);
});

test('the guard marker leaves the UDP checksum as it is', () => {
  const { liveness, request } = pair(0);
  liveness.begin(0);
  const plain = request();
  const guarded = request(0, true);
  assert.equal(guarded.readUInt32BE(Offset.MARKER), GUARD_MARKER);
  const sum = (message: Buffer) => {
    let total = 0;
    for (let at = 0; at < message.length - 1; at += 2) total += message.readUInt16BE(at);
    while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
    return total;
  };
  assert.equal(sum(guarded), sum(plain));
});

describe('what is no proof of life', () => {
  test('a forged reply: any bit changed', () => {
    for (const spoke of [0, 14, 18]) {
      const { liveness, request, answer } = pair(spoke);
      liveness.begin(0);
      const genuine = answer(request())!;
      fc.assert(
        fc.property(fc.nat(genuine.length * 8 - 1), (bit) => {
          const forged = Buffer.from(genuine);
          forged[bit >> 3]! ^= 1 << (bit & 7);
          const reply = liveness.receive(forged);
          assert(reply !== Reply.ALIVE, `bit ${bit} made ${reply}`);
        }),
      );
      assert.equal(liveness.receive(genuine), Reply.ALIVE);
    }
  });

  test('a replayed reply', () => {
    const { liveness, request, answer } = pair(0);
    liveness.begin(0);
    const genuine = answer(request())!;
    assert.equal(liveness.receive(genuine), Reply.ALIVE);
    assert.equal(liveness.receive(genuine), Reply.REPLAYED);
    liveness.begin(0);
    assert.equal(liveness.receive(genuine), Reply.REPLAYED);
  });

  test('a reply nobody asked for, and our own request reflected', () => {
    const { liveness, request } = pair(0);
    liveness.begin(0);
    const mine = request();
    assert.equal(liveness.receive(mine), Reply.MALFORMED);
    const reflected = Buffer.from(mine);
    reflected[Offset.FLAGS]! |= 0x20;
    assert.equal(liveness.receive(reflected), Reply.FORGED);
  });

  test('a reply from another SA', () => {
    const { liveness, request } = pair(0);
    const other = pair(1);
    liveness.begin(0);
    request();
    other.liveness.begin(0);
    assert.equal(liveness.receive(other.answer(other.request())!), Reply.UNKNOWN_SA);
  });

  test('a spoke with another key', () => {
    const { liveness, request, answer } = pair(0, { wrongKey: true });
    liveness.begin(0);
    const response = answer(request())!;
    assert.equal(liveness.receive(response), Reply.FORGED);
  });
});

describe('after a takeover', () => {
  for (const ahead of [0, 1, 2, 3, 4])
    test(`the peer is ${ahead} ids ahead of the checkpoint: it answers one of four candidates, and moves on by one`, () => {
      const { sessions, liveness, request, answer, responder } = pair(0);
      const exchange = () => {
        liveness.begin(0);
        return liveness.receive(answer(request())!);
      };
      for (let n = 0; n < ahead; n++) exchange();
      assert(responder.answered === ahead);
      sessions.nextMid[0] = 0;
      liveness.resync(0, 4);
      liveness.begin(0);
      const results: Reply[] = [];
      for (let offset = liveness.candidates(0) - 1; offset >= 0 && results.length === 0; offset--) {
        const reply = answer(request(offset));
        if (reply) results.push(liveness.receive(reply));
      }
      assert.deepEqual(results, [Reply.ALIVE]);
      // The fourth candidate, if it was answered before, is answered again.
      const next = Math.min(ahead + 1, 4);
      assert.equal(sessions.nextMid[0], next);
      assert.equal(liveness.candidates(0), next < 3 ? 2 : 1);
      assert.equal(responder.answered, ahead + 1);
    });

  test('candidates become twice as many, 16 at most, and only in doubt', () => {
    const { liveness } = pair(0);
    const widened = (candidates: number) => {
      liveness.resync(0, candidates);
      return Array.from({ length: 3 }, () => {
        liveness.widen(0);
        return liveness.candidates(0);
      });
    };
    assert.deepEqual(widened(1), [1, 1, 1]);
    assert.deepEqual(widened(3), [6, 12, 16]);
    assert.deepEqual(widened(40), [40, 40, 40]);
  });

  test('a recorded answer to a former owner counts once', () => {
    const { sessions, liveness, request, answer } = pair(0);
    liveness.begin(0);
    const recorded = answer(request())!;
    liveness.receive(recorded);
    sessions.nextMid[0] = 0;
    liveness.resync(0, 4);
    liveness.begin(0);
    assert.equal(liveness.receive(recorded), Reply.ALIVE);
    liveness.begin(0);
    assert.equal(liveness.receive(recorded), Reply.REPLAYED);
    assert.deepEqual([sessions.nextMid[0], liveness.candidates(0)], [1, 2]);
  });
});
