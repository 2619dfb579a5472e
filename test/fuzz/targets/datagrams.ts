/** IKE datagrams into a shard: only its spoke's own answer counts as an answer, and the shard still accepts that after any other input. */

import assert from 'node:assert/strict';
import { create } from '@bufbuild/protobuf';
import { FIRST_SEQUENCE, identityOf, pageOf } from '../../../loadtest/spokes/fleet.ts';
import { ikev1KeysOf, ikev1SuiteOf } from '../../../loadtest/spokes/ikev1.ts';
import { Mode, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { Address } from '../../../workers/base/address.ts';
import { isInformationalV1 } from '../../../workers/ikev1/informational.ts';
import { FIRST_IKEV1_SUITE, IKEV1_SUITES } from '../../../workers/ikev1/suites.ts';
import { IKE_PORT, isInformational, MARKER_LENGTH, NAT_T_PORT, PARKED_ID } from '../../../workers/ikev2/header.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { Direction } from '../../../workers/liveness/interlock.ts';
import { CANARY_LENGTH, isCanary, readCanary, writeCanary } from '../../../workers/path/canary.ts';
import { Shard } from '../../../workers/shard/shard.ts';
import type { Random } from '../../simulation/random.ts';
import { CREATE_CHILD_SA, INFORMATIONAL, sealed } from '../../workers/front/wire.ts';
import { informational, notification, payload } from '../../workers/ikev1/by-hand.ts';
import { spoil } from '../bytes.ts';

const POLICY = create(PolicySchema, { mode: Mode.ON_IDLE, intervalMs: 1_000, retryIntervalMs: 9_000, retries: 3 });
const ADDRESS = Address.of('192.0.2.10');
/** A way without a local address fits any SA. */
const HUB = { toString: () => '' } as Address;
const WAY = { local: '', ikePort: NAT_T_PORT, index: 0, canaryAddress: '192.0.2.10', canaryPort: NAT_T_PORT } as const;
const MESSAGES = 20;
/** Of both versions. */
const NUMBERS = [...SUITES, ...IKEV1_SUITES].map(({ index }) => index);

export function fuzz(random: Random): boolean {
  const suite = random.pick(NUMBERS);
  const guarded = random.chance(0.5);
  const { shard, now } = watching(suite, guarded);
  const corpus = messages(suite, random);
  for (let n = 0; n < MESSAGES; n++) {
    const spoiled = random.chance(0.1) ? Buffer.from(random.pick(corpus)) : spoil(random.pick(corpus), random);
    if (isGood(spoiled, corpus)) continue;
    shard.receive(spoiled, { address: ADDRESS, port: random.pick([NAT_T_PORT, IKE_PORT, 0]) });
    if (random.chance(0.2)) now(5);
  }
  assert.equal(shard.counters().probesAnswered, 0, 'a spoiled answer counts');
  const before = shard.counters();
  shard.receive(answer(suite, 0), { address: ADDRESS, port: NAT_T_PORT });
  const after = shard.counters();
  assert.equal(after.probesAnswered, 1, 'the answer does not count any more');
  return before.repliesForged + before.repliesReplayed + before.repliesUnknownSa > 0;
}

/** Whether it is a response as it was before, on port 4500, or without its marker as on port 500. */
function isGood(datagram: Buffer, corpus: readonly Buffer[]): boolean {
  const responses = corpus.filter((good) => isInformational(good, true) || isInformationalV1(good));
  return responses.some((good) => good.equals(datagram) || good.subarray(MARKER_LENGTH).equals(datagram));
}

/** A shard that has probed its only peer, and waits for the answer. */
function watching(suite: number, guarded: boolean): { shard: Shard; now: (ms: number) => void } {
  let now = 0;
  const shard: Shard = new Shard({
    now: () => now,
    wall: () => now,
    fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
    post: () => {},
    shard: 0,
    send(message) {
      const home = Buffer.from(message);
      if (guarded) home.writeUInt32BE(0);
      if (!isCanary(home)) return true;
      // Out and in: from the hub's own end, and as if from the spoke.
      const isOut = readCanary(home)!.direction === Direction.OUT;
      if (guarded) shard.receive(home, { address: isOut ? HUB : ADDRESS, port: NAT_T_PORT });
      else shard.handle({ type: 'voucher', canary: home.readUInt32BE(12) });
      return true;
    },
  });
  const fleet = { count: 1, shards: 1, seed: 'fuzz', suite, sockets: [SPOKE, SPOKE] };
  shard.handle({ type: 'path', path: { guarded, ready: true, returning: guarded, ways: [WAY] } });
  shard.handle({ type: 'upsert', page: pageOf(fleet, 1, POLICY) });
  const on = (ms: number) => {
    for (const end = now + ms; now < end; now += 5) shard.tick();
  };
  // Where the headend vouches, a shard is the only owner only after a while.
  on(2_200);
  return { shard, now: on };
}
const SPOKE = { address: '192.0.2.10', port: NAT_T_PORT };

/** What may come to a shard: answers, requests of the daemon's in one piece and in parts, canaries. */
function messages(suite: number, random: Random): Buffer[] {
  const identity = identityOf('fuzz', 0, 0, suite);
  const request = { exchange: CREATE_CHILD_SA, response: false, initiator: false, id: PARKED_ID, text: 'a request' };
  const canary = Buffer.alloc(CANARY_LENGTH);
  writeCanary({ number: random.uint32(), way: random.integer(0, 2), direction: 0 }, 0, canary);
  return [
    answer(suite, 0),
    answer(suite, 1),
    answer(suite, 0),
    sealed(identity, request),
    sealed(identity, { ...request, fragment: { number: 1, total: 2 } }),
    sealed(identity, { ...request, fragment: { number: 2, total: 2 } }),
    sealed(identity, { ...request, response: true, initiator: true, id: 0 }),
    sealed(identity, { ...request, exchange: INFORMATIONAL, text: '' }),
    canary,
    ...others(ikev1SuiteOf(suite) ? suite : FIRST_IKEV1_SUITE),
    // Of any length, too long ones among them.
    Buffer.alloc(random.integer(0, 4_096), 1),
  ];
}

/** Of IKEv1: a question of the spoke's, a notification that is not DPD, and a Delete. */
function others(suite: number): Buffer[] {
  const plain = plainOf(suite);
  return [
    informational(plain, notification(plain.cookies, 36136, 5)),
    informational(plain, notification(plain.cookies, 24578, FIRST_SEQUENCE)),
    informational(plain, payload(0, Buffer.alloc(24, 1)), 12),
  ];
}

/** What the fleet's one spoke of IKEv1 writes with. */
function plainOf(suite: number) {
  const { cipher, hash, ...lengths } = ikev1SuiteOf(suite)!;
  const keys = ikev1KeysOf('fuzz', 0, 0, { cipher, hash, ...lengths });
  const cookies = Buffer.alloc(16);
  identityOf('fuzz', 0, 0, suite).spi.forEach((word, n) => cookies.writeUInt32BE(word, 4 * n));
  return {
    cipher,
    hash,
    cookies,
    key: Buffer.from(keys.encryptionKey),
    skeyidA: Buffer.from(keys.skeyidA),
    lastBlock: Buffer.from(keys.phase1Block),
    messageId: 0x01020304,
  };
}

/** The spoke's, which was the SA's original initiator. */
function answer(suite: number, id: number): Buffer {
  if (ikev1SuiteOf(suite)) {
    const plain = plainOf(suite);
    return informational(plain, notification(plain.cookies, 36137, FIRST_SEQUENCE + id));
  }
  const identity = identityOf('fuzz', 0, 0, suite);
  return sealed(identity, { exchange: INFORMATIONAL, response: true, initiator: true, id, text: '' });
}
