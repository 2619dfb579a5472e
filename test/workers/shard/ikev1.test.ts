import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { ClosedLoop } from '../../../loadtest/spokes/closed-loop.ts';
import { FIRST_SEQUENCE, identityOf, pageOf } from '../../../loadtest/spokes/fleet.ts';
import { ikev1KeysOf, ikev1SuiteNamed, ikev1SuiteOf } from '../../../loadtest/spokes/ikev1.ts';
import { Responder } from '../../../loadtest/spokes/responder.ts';
import { Mode, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { Address } from '../../../workers/base/address.ts';
import { Direction } from '../../../workers/liveness/interlock.ts';
import { State } from '../../../workers/liveness/peers.ts';
import { isCanary, readCanary } from '../../../workers/path/canary.ts';
import type { FromShard, PeerStatus } from '../../../workers/shard/protocol.ts';
import { Shard } from '../../../workers/shard/shard.ts';
import { informational, notification, payload } from '../ikev1/by-hand.ts';

const SUITE = ikev1SuiteNamed('des-ede3-cbc', 'sha1');
const TIMES = { intervalMs: 10_000, retryIntervalMs: 1_000, retries: 3 };
const SPOKE = { address: '192.0.2.10', port: 4500 };
const FROM_SPOKE = { address: Address.of(SPOKE.address), port: SPOKE.port };
const HUB = { address: { toString: () => '' } as Address, port: 4500 };

describe('spokes of IKEv1 in a shard', () => {
  function loop(peers: number) {
    const posted: FromShard[] = [];
    const made = new ClosedLoop({ peers, seed: 'v1', suite: SUITE, ...TIMES, post: (message) => posted.push(message) });
    return { ...made, made, posted };
  }

  test('all are asked and answer; a dead one is judged in its time, and no other', () => {
    const { made, posted } = loop(50);
    made.run(3 * TIMES.intervalMs);
    const { probesAnswered, alive, probing } = made.shard.counters();
    assert(probesAnswered >= 100, `${probesAnswered} answers`);
    assert.equal(alive + probing, 50);
    made.spokes.kill(7, 0);
    made.run(TIMES.intervalMs + (TIMES.retries + 1) * TIMES.retryIntervalMs);
    assert.equal(made.shard.counters().dead, 1);
    assert.equal(made.shard.counters().verdicts, 1);
    made.run(5 * TIMES.intervalMs);
    assert.equal(made.shard.counters().verdicts, 1, 'a living one was judged');
    assert(posted.some(({ type }) => type === 'verdicts'));
  });

  test('one that loses two questions of three at most is asked again under a new number, and lives', () => {
    const { made } = loop(1);
    made.run(TIMES.intervalMs);
    for (let n = 0; n < 6; n++) {
      const { retransmissions } = made.shard.counters();
      made.spokes.kill(0, 0);
      while (made.shard.counters().retransmissions < retransmissions + 1) made.run(100);
      made.spokes.revive(0, 0);
      made.run(2 * TIMES.retryIntervalMs);
      assert.equal(made.shard.counters().alive, 1);
    }
    assert.equal(made.shard.counters().verdicts, 0);
  });
});

/** A shard on a guarded hub with one spoke of IKEv1; what it sends, without canaries. */
function guarded(suite = SUITE, resumeAt?: number) {
  let now = 0;
  const sent: Buffer[] = [];
  let status: PeerStatus | undefined;
  const shard: Shard = new Shard({
    now: () => now,
    wall: () => now,
    fillRandom: (bytes, from, to) => {
      for (let at = from; at < to; at++) bytes[at] = Math.floor(Math.random() * 256);
    },
    post: (message) => {
      if (message.type === 'answer') status = (message.body as PeerStatus[])[0];
    },
    vault: { open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) },
    shard: 0,
    send(message) {
      const home = Buffer.from(message);
      home.writeUInt32BE(0);
      if (!isCanary(home)) sent.push(Buffer.from(message));
      else shard.receive(home, readCanary(home)!.direction === Direction.OUT ? HUB : FROM_SPOKE);
      return true;
    },
  });
  const way = { local: '', ikePort: 4500, index: 0, canaryAddress: SPOKE.address, canaryPort: 4500 } as const;
  shard.handle({ type: 'path', path: { guarded: true, ready: true, returning: true, ways: [way] } });
  const fleet = { count: 1, shards: 1, seed: 'v1', suite, sockets: [SPOKE, SPOKE] };
  const page = pageOf(fleet, 1, create(PolicySchema, { mode: Mode.PERIODIC, ...TIMES }));
  if (resumeAt === undefined) shard.handle({ type: 'upsert', page });
  else {
    const former = { headend: 'hub', chunks: [], translated: new Map(), atUnix: 0, ageMs: resumeAt };
    shard.handle({ type: 'takeOver', former });
    shard.handle({ type: 'resume', request: 1, page });
    shard.handle({ type: 'takeOver', former: undefined });
  }
  const run = (ms: number) => {
    for (const end = now + ms; now < end; now += 5) shard.tick();
  };
  const state = () => {
    shard.handle({ type: 'query', request: 2, handles: [0] });
    return status!.state;
  };
  return { shard, sent, run, state };
}

/** What the spoke writes. */
function spokeSays(payloads: (cookies: Buffer) => Buffer, first?: number): Buffer {
  const { cipher, hash, ...suite } = ikev1SuiteOf(SUITE)!;
  const { encryptionKey, skeyidA, phase1Block } = ikev1KeysOf('v1', 0, 0, { cipher, hash, ...suite });
  const cookies = Buffer.alloc(16);
  identityOf('v1', 0, 0, SUITE).spi.forEach((word, n) => cookies.writeUInt32BE(word, 4 * n));
  const [key, lastBlock] = [Buffer.from(encryptionKey), Buffer.from(phase1Block)];
  const plain = { cipher, hash, key, skeyidA: Buffer.from(skeyidA), lastBlock, cookies, messageId: 4711 };
  return informational(plain, payloads(cookies), first);
}

/** As a shard hands it to the daemon: with the order in place of the marker. */
function handedOver(sent: readonly Buffer[]): Buffer[] {
  return sent.filter((message) => message.readUInt16BE() === 1).map((message) => message.subarray(4));
}

describe('what comes to a shard on a guarded hub', () => {
  test('what is not ours goes to the daemon unchanged: Delete, R-U-THERE, a forgery, an ACK of the daemon’s own question', () => {
    const { shard, sent, run } = guarded();
    run(TIMES.intervalMs);
    const messages = [
      spokeSays(() => payload(0, Buffer.from('00000001010400010123456789abcdef', 'hex')), 12),
      spokeSays((cookies) => notification(cookies, 36136, 77)),
      spokeSays((cookies) => notification(cookies, 36137, 77)),
      Buffer.concat([spokeSays((cookies) => notification(cookies, 24578, 1)).subarray(0, 40), Buffer.alloc(56)]),
    ];
    for (const message of messages) {
      message.writeUInt32BE(message.length - 4, 28);
      sent.length = 0;
      shard.receive(Buffer.from(message), FROM_SPOKE);
      assert.deepEqual(handedOver(sent), [message.subarray(4)]);
    }
    assert.equal(shard.counters().handedOver, messages.length);
    assert.equal(shard.counters().probesAnswered, 0);
  });

  test('its own answer does not go there; nor does its own question, sent back', () => {
    const { shard, sent, run } = guarded();
    const spokes = new Responder('v1', 1, SUITE);
    while (sent.length === 0) run(5);
    const question = Buffer.from(sent[0]!);
    question.writeUInt32BE(0);
    const answer = Buffer.from(spokes.answer(question)!);
    sent.length = 0;
    shard.receive(question, FROM_SPOKE);
    shard.receive(answer, FROM_SPOKE);
    assert.deepEqual(handedOver(sent), []);
    assert.equal(shard.counters().probesAnswered, 1);
    shard.receive(answer, FROM_SPOKE);
    assert.equal(handedOver(sent).length, 1, 'a repeated answer is for the daemon to ignore');
  });

  test('a peer that has never answered is asked on and never judged', () => {
    const { run, state } = guarded();
    run(20 * TIMES.intervalMs);
    assert.equal(state(), State.UNPROVEN);
  });

  test('after a takeover the number is above any that was used', () => {
    const { sent, run } = guarded(SUITE, 60_000);
    while (sent.length === 0) run(5);
    const question = Buffer.from(sent[0]!);
    question.writeUInt32BE(0);
    const used = FIRST_SEQUENCE + 60_000 / 200;
    const spokes = new Responder('v1', 1, SUITE);
    assert(spokes.answer(spokesQuestion(used - 1)), 'the former owner');
    assert(spokes.answer(question), 'the new one');
  });
});

/** A question of the former owner's. */
function spokesQuestion(number: number): Buffer {
  return spokeSays((cookies) => notification(cookies, 36136, number));
}
