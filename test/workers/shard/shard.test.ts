import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { answerRequest, findRequest } from '../../../loadtest/spokes/answer.ts';
import { identityOf, pageOf, saOf, vouchedPath } from '../../../loadtest/spokes/fleet.ts';
import { Mode, PolicySchema, SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { spiHex } from '../../../services/api/spi.ts';
import { NOWHERE } from '../../../workers/base/address.ts';
import { keyMaterial, SessionTable } from '../../../workers/ikev2/sessions.ts';
import type { KeyVault } from '../../../workers/keys/key-keeper.ts';
import { SendBuffers } from '../../../workers/net/send-buffers.ts';
import { readCanary, VOUCHER_MS } from '../../../workers/path/canary.ts';
import { NO_MID } from '../../../workers/sa/ids.ts';
import { packPage } from '../../../workers/sa/sa-page.ts';
import type { FromShard } from '../../../workers/shard/protocol.ts';
import { Shard, type ShardIo } from '../../../workers/shard/shard.ts';
import { verdictCount } from '../../../workers/shard/verdict-rows.ts';
import { type FormerOwners, ROW_LENGTH } from '../../../workers/takeover/checkpoint.ts';

const POLICY = create(PolicySchema, { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 1_000, retries: 3 });
const FLEET = {
  count: 1,
  shards: 1,
  seed: 'shard-test',
  sockets: [1, 2].map((n) => ({ address: `127.0.0.${n}`, port: 1 })),
};

/** A vault without a lock. */
const OPEN: KeyVault = { open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) };

/** Where answers come from. */
const SPOKE = { address: NOWHERE, port: 0 };

/** A shard that sends and tells nothing, unless `io` says otherwise. Each canary is vouched for at once. */
function shardWith(now: () => number, io: Partial<ShardIo>): Shard {
  const { send = () => true } = io;
  const shard: Shard = new Shard({
    now,
    wall: now,
    fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
    post: () => {},
    vault: OPEN,
    shard: 0,
    ...io,
    send(message, ...to) {
      const canary = readCanary(message);
      if (canary) shard.handle({ type: 'voucher', canary: canary.number });
      return canary ? true : send(message, ...to);
    },
  });
  return shard;
}

/** Has a shard take over the fleet's one SA. @param dead a verdict on it is in the log */
function takeOver(shard: Shard, chunks: FormerOwners['chunks'], atUnix: number, dead = false): void {
  shard.handle({ type: 'path', path: vouchedPath('127.0.0.1', 9) });
  shard.handle({ type: 'takeOver', former: { headend: 'hub', chunks, translated: new Map(), atUnix, ageMs: 0 } });
  const page = pageOf(FLEET, 1, POLICY);
  page.dead.fill(dead ? 1 : 0);
  shard.handle({ type: 'resume', request: 1, page });
  shard.handle({ type: 'takeOver', former: undefined });
}

/** What a checkpoint tells of the fleet's one SA, which has answered before: its id, and how far above it may be. */
function rowOf(nextMid: number, uncertainty: number, spi = spiHex(saOf(FLEET, 0, 0, POLICY).id!)): Buffer {
  const row = Buffer.alloc(ROW_LENGTH);
  row.write(spi, 'hex');
  row.writeUInt32BE(nextMid, 16);
  row.writeUInt8(4, 28);
  row.writeUInt16BE(uncertainty, 29);
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
    address: NOWHERE,
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

/** A shard that took an SA over whose id was uncertain by so much, its spoke at 6, and what it tells when the SA is removed. */
function givenBack(uncertainty: number) {
  const clock = { now: 0 };
  const sent: Buffer[] = [];
  const told: FromShard[] = [];
  const shard = shardWith(() => clock.now, {
    send: (message) => sent.push(Buffer.from(message)) > 0,
    post: (message) => told.push(message),
  });
  takeOver(shard, [{ epoch: 1, bytes: rowOf(5, uncertainty) }], 0);
  const remove = () => {
    shard.handle({ type: 'remove', request: 2, handles: [0] });
    return told.flatMap((message) => (message.type === 'answer' && message.request === 2 ? [message.body] : []));
  };
  return { shard, clock, sent, answer: spokeAt(6).answer, remove };
}

test('an SA taken over with an uncertain id is given back with its next id only when the peer has confirmed it', () => {
  const removeAfter = (asked: boolean) => {
    const { shard, clock, sent, answer, remove } = givenBack(1);
    for (; asked && clock.now < 11_000; clock.now += 5) {
      shard.tick();
      for (const probe of sent.splice(0)) {
        const reply = answer(probe);
        if (reply) shard.receive(reply, SPOKE);
      }
    }
    return remove();
  };
  assert.deepEqual(removeAfter(false), [[NO_MID]]);
  assert.deepEqual(removeAfter(true), [[7]]);
});

test('an SA that answers only when asked with the neighbouring ids, too, is given back with the one behind its answer', () => {
  const { shard, clock, sent, answer, remove } = givenBack(0);
  /** Runs until the spoke's first answer after a probe with `mid`; earlier answers are lost. */
  const answerOnce = (mid: number) => {
    let asked = false;
    for (const end = clock.now + 2 * POLICY.intervalMs; clock.now < end; clock.now += 5) {
      shard.tick();
      for (const probe of sent.splice(0)) {
        asked ||= probe.readUInt32BE(24) === mid;
        const reply = asked && answer(probe);
        if (reply) return shard.receive(reply, SPOKE);
      }
    }
    assert.fail(`not asked with ${mid}`);
  };
  answerOnce(6);
  answerOnce(9);
  assert.deepEqual(remove(), [[8]]);
});

test('after a takeover possible ids are asked from the highest down, and only while the path is vouched for', () => {
  let now = 0;
  const sent: Buffer[] = [];
  const canaries: number[] = [];
  const shard = new Shard({
    now: () => now,
    wall: () => now,
    fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
    post: () => {},
    vault: OPEN,
    shard: 0,
    send(message) {
      const canary = readCanary(message);
      if (canary) canaries.push(canary.number);
      else sent.push(Buffer.from(message));
      return true;
    },
  });
  const tick = (ms: number) => {
    for (const end = now + ms; now < end; ) {
      now += 5;
      shard.tick();
    }
  };
  const vouch = () => {
    for (const canary of canaries.splice(0)) shard.handle({ type: 'voucher', canary });
  };
  const ids = () => sent.splice(0).map((probe) => probe.readUInt32BE(24));
  // Its former owner knew the next id to be one of four.
  takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 3) }], POLICY.intervalMs);
  for (let n = 0; n < 3; n++) {
    tick(500);
    vouch();
  }
  // A former owner may still go on with what was vouched for him.
  assert.deepEqual(ids(), []);
  tick(10);
  vouch();
  // Refused until then, it is looked at again. Meanwhile another owner may have asked, so there is one more possible id.
  tick(260);
  assert.deepEqual(ids(), [9]);
  tick(50);
  assert.deepEqual(ids(), [8]);
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
  shard.handle({ type: 'path', path: vouchedPath('127.0.0.1', 9) });
  const rows = Array.from({ length: 40 }, (_, spoke) => rowOf(0, 0, spiHex(saOf(fleet, spoke, 0, POLICY).id!)));
  const chunks = [{ epoch: 1, bytes: Buffer.concat(rows) }];
  shard.handle({ type: 'takeOver', former: { headend: 'hub', chunks, translated: new Map(), atUnix: 0, ageMs: 0 } });
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
  assert.deepEqual(abandoned, [{ type: 'abandoned', unreadable: [30] }]);
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

test('a canary follows the last message of a suspicion at once, so that the verdict need not wait', () => {
  let now = 0;
  let verdictAt = 0;
  const canaries: number[] = [];
  const probes: number[] = [];
  const shard: Shard = new Shard({
    now: () => now,
    wall: () => now,
    fillRandom: (bytes, from, to) => bytes.fill(7, from, to),
    vault: OPEN,
    shard: 0,
    send(message) {
      const canary = readCanary(message);
      (canary ? canaries : probes).push(now);
      if (canary) shard.handle({ type: 'voucher', canary: canary.number });
      return true;
    },
    post: ({ type }) => {
      if (type === 'verdicts') verdictAt = now;
    },
  });
  takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 1) }], now);
  while (verdictAt === 0 && now < 40_000) {
    now += 5;
    shard.tick();
  }
  const last = probes.at(-1)!;
  assert(
    canaries.some((at) => at >= last && at <= last + 25),
    `${canaries.slice(-3)} after ${last}`,
  );
  // Until then they come every 500 ms, for one before the last message says nothing.
  assert(canaries.every((at, n) => at >= last || at === 5 + n * 500));
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
      if (reply) shard.receive(reply, SPOKE);
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
        if (reply) shard.receive(reply, SPOKE);
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

test('an SA whose next id another owner may have moved too far for one probe is asked on, and not judged, until it answers', () => {
  let now = 0;
  const sent: Buffer[] = [];
  const posted: FromShard[] = [];
  const take = (chunks: FormerOwners['chunks']) => {
    const shard = shardWith(() => now, {
      send: (message) => sent.push(Buffer.from(message)) > 0,
      post: (message) => posted.push(message),
    });
    takeOver(shard, chunks, now);
    return shard;
  };
  const { answer } = spokeAt(60);
  const run = (shard: Shard, ms: number, spokeLives: boolean) => {
    for (const end = now + ms; now < end; now += 5) {
      shard.tick();
      for (const probe of sent.splice(0)) {
        const reply = spokeLives && answer(probe);
        if (reply) shard.receive(reply, SPOKE);
      }
    }
  };
  const verdicts = () => posted.filter(({ type }) => type === 'verdicts').length;
  const shard = take([{ epoch: 1, bytes: rowOf(0, 0) }]);
  run(shard, 5_000, false);
  // Frozen for so long that another owner may have asked a hundred times.
  now += POLICY.intervalMs * 100;
  run(shard, 600_000, false);
  assert.equal(verdicts(), 0);
  assert.equal(shard.counters().unproven, 1);

  // The next owner goes on searching.
  const { chunks } = shard.checkpoint(true);
  const successor = take(chunks.map(({ bytes }) => ({ epoch: 2, bytes })));
  run(successor, 600_000, false);
  assert.equal(verdicts(), 0);
  run(successor, 1_500_000, true);
  assert.equal(successor.counters().alive, 1);
  run(successor, 60_000, false);
  assert.equal(verdicts(), 1, 'now its silence means something');
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
    // The thread stalls for 1 s, and finds this when it goes on.
    now = 6_000;
    shard.handle({ type: 'evidence', heard: Uint32Array.of(0), sent: new Uint32Array(0), atMs: heardAtMs });
    for (; askedAt === 0 && now < 30_000; now += 5) shard.tick();
    return askedAt;
  };
  assert.equal(askedIfHeard(6_000) - askedIfHeard(5_200), 800);
});

test('a shard whose socket drops more than a hundredth unread judges nobody by it', () => {
  const judgedAt = (lose: (shard: Shard) => void) => {
    let now = 0;
    const posted: FromShard[] = [];
    const shard = shardWith(() => now, {
      post: (message) => posted.push(message),
    });
    takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 0) }], now);
    for (; now < 60_000 && !posted.some(({ type }) => type === 'verdicts'); now += 5) {
      shard.tick();
      if (now === 12_500) lose(shard);
    }
    return { at: now, unread: shard.counters().repliesUnread };
  };
  const dead = judgedAt(() => {});
  assert(dead.at > 12_500 && dead.at < 15_000, `${dead.at}`);
  const few = judgedAt((shard) => {
    for (let n = 0; n < 200; n++) shard.receive(Buffer.from('no IKE'), SPOKE);
    shard.dropped(2);
    shard.dropped(0);
  });
  assert.deepEqual(few, { at: dead.at, unread: 2 });
  const many = judgedAt((shard) => shard.dropped(3));
  assert(many.at >= dead.at + POLICY.retries * POLICY.retryIntervalMs, `${many.at}`);
  assert.equal(many.unread, 3);
});

test('an SA that has its verdict is dead for the next owner, too, and gets no other', () => {
  for (const dead of [true, false]) {
    let now = 0;
    let verdicts = 0;
    const shard = shardWith(() => now, {
      post: (message) => {
        if (message.type === 'verdicts') verdicts += verdictCount(message.rows);
      },
    });
    takeOver(shard, [{ epoch: 1, bytes: rowOf(5, 0) }], 0, dead);
    assert.equal(shard.counters().dead, dead ? 1 : 0);
    for (; now < 60_000; now += 5) shard.tick();
    assert.equal(verdicts, dead ? 0 : 1);
  }
});

test('an SA with an id that no message can have is told of and not watched; the others are asked', () => {
  let now = 0;
  const asked = new Set<number>();
  const posted: FromShard[] = [];
  const shard = shardWith(() => now, {
    send: (_message, _address, _port, handle) => asked.add(handle).size > 0,
    post: (message) => posted.push(message),
  });
  shard.handle({ type: 'path', path: vouchedPath('127.0.0.1', 9) });
  const fleet = { ...FLEET, count: 2 };
  const rows = [0, 0xffffffff].map((nextMessageId, handle) => {
    const sa = { ...saOf(fleet, handle, 0, POLICY), nextMessageId };
    const keys = toBinary(SaKeysSchema, sa.keys!);
    return { handle, site: 0, dead: false, sa: toBinary(SaSchema, { ...sa, keys: undefined }), keys };
  });
  shard.handle({ type: 'upsert', page: packPage(rows) });
  for (; now < 30_000; now += 5) shard.tick();
  assert.deepEqual([...asked], [0]);
  assert.deepEqual(
    posted.filter(({ type }) => type === 'abandoned'),
    [{ type: 'abandoned', unreadable: [1] }],
  );
});

test('a shard takes SAs until it has its most policies; the others are left out, and it goes on', () => {
  const posted: FromShard[] = [];
  const shard = shardWith(() => 0, { post: (message) => posted.push(message) });
  const fleet = { ...FLEET, count: 65_540 };
  const rows = Array.from({ length: fleet.count }, (_, handle) => {
    const policy = create(PolicySchema, { ...POLICY, intervalMs: 10_000 + handle });
    const sa = { ...saOf(fleet, handle, 0, policy), keys: undefined };
    return { handle, site: 0, dead: false, sa: toBinary(SaSchema, sa), keys: undefined };
  });
  shard.handle({ type: 'upsert', page: packPage(rows) });
  const [abandoned] = posted.flatMap((message) => (message.type === 'abandoned' ? message.unreadable : []));
  assert.equal(abandoned, 65_534);
  // Known policies are still taken.
  posted.length = 0;
  shard.handle({ type: 'upsert', page: packPage([rows[7]!]) });
  shard.handle({ type: 'remove', request: 1, handles: [7] });
  shard.tick();
  assert.deepEqual(
    posted.filter(({ type }) => type === 'abandoned'),
    [],
  );
});
