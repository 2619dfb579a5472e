import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { answerRequest, findRequest } from '../../../loadtest/spokes/answer.ts';
import { identityOf, pageOf, saOf } from '../../../loadtest/spokes/fleet.ts';
import { Mode, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { spiHex } from '../../../services/api/spi.ts';
import { keyMaterial, SessionTable } from '../../../workers/ikev2/sessions.ts';
import type { KeyVault } from '../../../workers/keys/key-keeper.ts';
import { SendBuffers } from '../../../workers/net/send-buffers.ts';
import { readCanary, VOUCHER_MS } from '../../../workers/path/canary.ts';
import { type FormerOwners, type FromShard, NO_MID } from '../../../workers/shard/protocol.ts';
import { Shard, type ShardIo } from '../../../workers/shard/shard.ts';
import { verdictCount } from '../../../workers/shard/verdict-rows.ts';
import { ROW_LENGTH } from '../../../workers/takeover/checkpoint.ts';

const POLICY = create(PolicySchema, { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 1_000, retries: 3 });
const FLEET = {
  count: 1,
  shards: 1,
  seed: 'shard-test',
  sockets: [1, 2].map((n) => ({ address: `127.0.0.${n}`, port: 1 })),
};

/** A vault without a lock. */
const OPEN: KeyVault = { open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) };

/** A shard that sends and tells nothing, unless `io` says otherwise. */
function shardWith(now: () => number, io: Partial<ShardIo>): Shard {
  return new Shard({
    now,
    wall: now,
    fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
    send: () => true,
    post: () => {},
    vault: OPEN,
    ...io,
  });
}

/** The path is open, and the shard its node's for ever. */
function ownForGood(shard: Shard): void {
  const forever = Number.POSITIVE_INFINITY;
  shard.handle({
    type: 'path',
    path: { canaryAddress: 0, canaryPort: 0, guarded: false, ready: false, open: true },
  });
  shard.handle({ type: 'lease', fromMs: 0, untilMs: forever, vouchedUntilMs: forever });
}

/** Has a shard take over the fleet's one SA, on an open path and for good, from owners that had stopped. */
function takeOver(shard: Shard, chunks: FormerOwners['chunks'], atUnix: number): void {
  ownForGood(shard);
  const former = { headend: 'hub', chunks, atUnix, ageMs: 0, final: true, leaseMs: 1 };
  shard.handle({ type: 'takeOver', former });
  shard.handle({ type: 'resume', request: 1, page: pageOf(FLEET, 1, POLICY) });
  shard.handle({ type: 'takeOver', former: undefined });
}

/** What a checkpoint tells of the fleet's one SA. */
function rowOf(nextMid: number, doubt: number): Buffer {
  const row = Buffer.alloc(ROW_LENGTH);
  row.write(spiHex(saOf(FLEET, 0, 0, POLICY).id!), 'hex');
  row.writeUInt32BE(nextMid, 16);
  row.writeUInt8(doubt, ROW_LENGTH - 1);
  return row;
}

/** The fleet's one spoke, as it expects this message id. */
function spokeAt(nextMid: number) {
  const identity = identityOf(FLEET.seed, 0, 0);
  const spoke = new SessionTable();
  spoke.add({
    handle: 0,
    spi: identity.spi,
    headendIsInitiator: false,
    address: 0,
    port: 0,
    nextMid,
    keys: { suite: identity.suite.index, material: keyMaterial(identity.suite, false, identity) },
  });
  const answer = (probe: Buffer) => {
    assert.equal(findRequest(spoke, probe), 0);
    const reply = answerRequest(spoke, 0, probe, new SendBuffers());
    return reply && Buffer.from(reply);
  };
  return { spoke, answer };
}

test('an SA taken over in doubt is given back with its next id only when the peer has confirmed it', () => {
  const removeAfter = (asked: boolean) => {
    let now = 0;
    const sent: Buffer[] = [];
    const told: FromShard[] = [];
    const shard = shardWith(() => now, {
      send: (message) => sent.push(Buffer.from(message)) > 0,
      post: (message) => told.push(message),
    });
    takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 1) }], 0);
    const { answer } = spokeAt(6);
    for (; asked && now < 11_000; now += 5) {
      shard.tick();
      for (const probe of sent.splice(0)) {
        const reply = answer(probe);
        if (reply) shard.receive(reply);
      }
    }
    shard.handle({ type: 'remove', request: 2, handles: [0] });
    return told.flatMap((message) => (message.type === 'answer' && message.request === 2 ? [message.body] : []));
  };
  assert.deepEqual(removeAfter(false), [[NO_MID]]);
  assert.deepEqual(removeAfter(true), [[7]]);
});

test('after a takeover candidates are asked from the highest down, and only while the path is vouched for', () => {
  let now = 0;
  const sent: Buffer[] = [];
  const shard = shardWith(() => now, {
    send: (message) => sent.push(Buffer.from(message)) > 0,
  });
  shard.handle({
    type: 'path',
    path: { canaryAddress: 1, canaryPort: 9, guarded: false, ready: true, open: false },
  });
  // Its former owner had stopped, and knew the next id to be one of four.
  const former = {
    headend: 'hub',
    chunks: [{ epoch: 1, bytes: rowOf(5, 3) }],
    atUnix: 10_000,
    ageMs: 0,
    final: true,
    leaseMs: 1,
  };
  shard.handle({ type: 'takeOver', former });
  shard.handle({ type: 'resume', request: 1, page: pageOf(FLEET, 1, POLICY) });
  const tick = (ms: number) => {
    now += ms;
    shard.tick();
  };
  tick(5);
  const canary = sent.map((datagram) => readCanary(datagram)).find((number) => number !== undefined);
  sent.length = 0;
  shard.handle({ type: 'voucher', canary: canary! });
  const ids = () => {
    const probes = sent.splice(0).filter((datagram) => readCanary(datagram) === undefined);
    return probes.map((probe) => probe.readUInt32BE(24));
  };
  // Refused once without a voucher, it is looked at again.
  tick(260);
  assert.deepEqual(ids(), [8]);
  tick(50);
  assert.deepEqual(ids(), [7]);
  now += VOUCHER_MS;
  tick(50);
  assert.deepEqual(ids(), [], 'a probe left without a voucher');
});

test('keys taken over are opened before their peers are asked; those that do not open are told, and left alone', () => {
  let now = 0;
  let opened = 0;
  const asked = new Set<number>();
  const posted: FromShard[] = [];
  const fleet = { ...FLEET, count: 40 };
  const spoiled = `hub/${spiHex(saOf(fleet, 30, 0, POLICY).id!)}`;
  const shard = shardWith(() => now, {
    send: (_message, _address, _port, handle) => asked.add(handle).size > 0,
    post: (message) => posted.push(message),
    vault: {
      open: (record, context) => {
        opened++;
        if (context === spoiled) throw new Error('damaged');
        return Buffer.from(record);
      },
      seal: (plain) => Buffer.from(plain),
    },
  });
  ownForGood(shard);
  const former = { headend: 'hub', chunks: [], atUnix: 0, ageMs: 0, final: true, leaseMs: 1 };
  shard.handle({ type: 'takeOver', former });
  shard.handle({ type: 'resume', request: 1, page: pageOf(fleet, 40, POLICY) });
  assert.equal(opened, 1, 'the takeover waited for keys');
  shard.handle({ type: 'takeOver', former: undefined });
  assert.equal(shard.idleUntilMs, now, 'nothing is to be done');

  // A headend that registers an SA again brings its keys; one that is gone needs none.
  shard.handle({ type: 'remove', request: 2, handles: [39] });
  for (; opened < 39 && now < 100; now += 5) shard.tick();
  assert.equal(opened, 39);
  assert(asked.size < 39, 'all were asked before');
  const abandoned = posted.filter(({ type }) => type === 'abandoned');
  assert.deepEqual(abandoned, [{ type: 'abandoned', unreadable: [30], lost: [] }]);
  for (; now < 40_000; now += 5) shard.tick();
  assert.deepEqual(
    [...asked].sort((a, b) => a - b),
    [...Array(39).keys()].filter((handle) => handle !== 30),
  );
  assert.equal(opened, 39);
  assert.equal(
    posted.reduce((sum, message) => sum + (message.type === 'verdicts' ? verdictCount(message.rows) : 0), 0),
    38,
  );

  shard.handle({ type: 'upsert', page: pageOf(fleet, 40, POLICY) });
  for (; now < 80_000; now += 5) shard.tick();
  assert(asked.has(30), 'not asked with the keys that its headend brought');
});

test('a canary follows the last candidate of a suspicion at once, so that the verdict need not wait', () => {
  let now = 0;
  let verdictAt = 0;
  const canaries: number[] = [];
  const probes: number[] = [];
  const shard: Shard = shardWith(() => now, {
    send: (message) => {
      const canary = readCanary(message);
      (canary === undefined ? probes : canaries).push(now);
      if (canary !== undefined) queueMicrotask(() => shard.handle({ type: 'voucher', canary }));
      return true;
    },
    post: ({ type }) => {
      if (type === 'verdicts') verdictAt = now;
    },
  });
  takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 1) }], now);
  const path = { canaryAddress: 1, canaryPort: 9, guarded: false, ready: true, open: true };
  shard.handle({ type: 'path', path });
  while (verdictAt === 0 && now < 30_000) {
    now += 5;
    shard.tick();
  }
  const last = probes.at(-1)!;
  assert(
    canaries.some((at) => at >= last && at <= last + 25),
    `${canaries.slice(-3)} after ${last}`,
  );
  assert(!canaries.some((at) => at > last - 60 && at < last), 'one before it says nothing');
  assert(verdictAt > last);
});

test('a peer with many candidates that answers slowly is found', () => {
  let now = 0;
  const [doubt, roundTripMs] = [40, 900];
  const posted: FromShard[] = [];
  const travelling: { at: number; probe: Buffer }[] = [];
  const shard = shardWith(() => now, {
    send: (message) => travelling.push({ at: now + roundTripMs, probe: Buffer.from(message) }) > 0,
    post: (message) => posted.push(message),
  });
  takeOver(shard, [{ epoch: 1, bytes: rowOf(0, doubt) }], now);
  const { spoke, answer } = spokeAt(3);
  for (; now < 3 * POLICY.intervalMs; now += 5) {
    while (travelling[0] && travelling[0].at <= now) {
      const reply = answer(travelling.shift()!.probe);
      if (reply) shard.receive(reply);
    }
    shard.tick();
  }
  assert.deepEqual(
    posted.filter(({ type }) => type === 'verdicts'),
    [],
  );
  // Each answer moves it on by one, though dozens are asked.
  assert.equal(spoke.nextMid[0], 3 + shard.counters().probesAnswered);
});

test('a peer whose id is above all candidates is found before it is judged', () => {
  const judged = (expected: number, spokeLives: boolean) => {
    let now = 0;
    const sent: Buffer[] = [];
    const ids = new Set<number>();
    let verdicts = 0;
    const shard = shardWith(() => now, {
      send: (message) => sent.push(Buffer.from(message)) > 0,
      post: (message) => {
        if (message.type === 'verdicts') verdicts += verdictCount(message.rows);
      },
    });
    takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 1) }], now);
    const { answer } = spokeAt(expected);
    for (const end = 2 * POLICY.intervalMs + 4 * POLICY.retryIntervalMs; now < end; now += 5) {
      shard.tick();
      for (const probe of sent.splice(0)) {
        ids.add(probe.readUInt32BE(24));
        const reply = spokeLives && answer(probe);
        if (reply) shard.receive(reply);
      }
    }
    return { verdicts, candidates: Math.max(...ids) - 4 };
  };
  // Of 5 and 6 neither is answered; at the third attempt 5 to 12 are asked.
  assert.deepEqual(judged(11, true), { verdicts: 0, candidates: 8 });
  // It takes no longer to judge one that is dead.
  assert.deepEqual(judged(5, false), { verdicts: 1, candidates: 8 });
  // Found at once at 6, and an interval later asked with 7.
  assert.deepEqual(judged(6, true), { verdicts: 0, candidates: 3 });
});

test('an SA whose next id another owner may have moved too far is left alone, by later owners as well', () => {
  let now = 0;
  let asked = 0;
  const posted: FromShard[] = [];
  const take = (chunks: FormerOwners['chunks']) => {
    const shard = shardWith(() => now, {
      send: () => ++asked > 0,
      post: (message) => posted.push(message),
    });
    takeOver(shard, chunks, now);
    return shard;
  };
  const run = (shard: Shard, ms: number) => {
    for (const end = now + ms; now < end; now += 5) shard.tick();
  };
  const shard = take([{ epoch: 1, bytes: rowOf(0, 0) }]);
  posted.length = 0;
  shard.handle({ type: 'doubt', missedMs: POLICY.intervalMs * 70 });
  assert.deepEqual(posted, [{ type: 'abandoned', unreadable: [], lost: [0] }]);
  // A new policy does not make its id known.
  const other = create(PolicySchema, { ...POLICY, retries: 5 });
  shard.handle({ type: 'upsert', page: pageOf(FLEET, 1, other) });
  run(shard, 60_000);
  assert.equal(asked, 0);
  assert(!posted.some(({ type }) => type === 'verdicts'));

  posted.length = 0;
  const { chunks } = shard.checkpoint(true);
  const successor = take(chunks.map(({ bytes }) => ({ epoch: 2, bytes })));
  const leftOut = { unreadable: [], lost: [0], opened: 0, sealed: 0 };
  assert.deepEqual(posted, [{ type: 'answer', request: 1, body: leftOut }]);
  run(successor, 60_000);
  assert.equal(asked, 0);
});

test('evidence that waited for a stalled thread is as old as it is', () => {
  const askedIfHeard = (heardAtMs: number) => {
    let now = 0;
    let askedAt = 0;
    const shard = shardWith(() => now, {
      send: () => {
        askedAt ||= now;
        return true;
      },
    });
    takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 0) }], 0);
    for (; now < 5_000; now += 5) shard.tick();
    // The thread stands still for 4 s, and finds this when it goes on.
    now = 9_000;
    shard.handle({ type: 'evidence', heard: Uint32Array.of(0), sent: new Uint32Array(0), atMs: heardAtMs });
    for (; askedAt === 0 && now < 30_000; now += 5) shard.tick();
    return askedAt;
  };
  assert.equal(askedIfHeard(9_000) - askedIfHeard(5_500), 3_500);
});

test('a shard whose socket drops more than a hundredth unread judges nobody by it', () => {
  const judgedAt = (lose: (shard: Shard) => void) => {
    let now = 0;
    const posted: FromShard[] = [];
    const shard = shardWith(() => now, {
      post: (message) => posted.push(message),
    });
    takeOver(shard, [], now);
    for (; now < 60_000 && !posted.some(({ type }) => type === 'verdicts'); now += 5) {
      shard.tick();
      if (now === 12_500) lose(shard);
    }
    return { at: now, unread: shard.counters().repliesUnread };
  };
  const dead = judgedAt(() => {});
  assert(dead.at > 12_500 && dead.at < 14_000, `${dead.at}`);
  const few = judgedAt((shard) => {
    for (let n = 0; n < 200; n++) shard.receive(Buffer.from('no IKE'));
    shard.dropped(2);
    shard.dropped(0);
  });
  assert.deepEqual(few, { at: dead.at, unread: 2 });
  const many = judgedAt((shard) => shard.dropped(3));
  assert(many.at >= dead.at + POLICY.retries * POLICY.retryIntervalMs, `${many.at}`);
  assert.equal(many.unread, 3);
});
