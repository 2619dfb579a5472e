import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../services/clock.ts';
import { type LeaseEvents, LeaseKeeper } from '../../../services/concentrator/lease-keeper.ts';
import { LEASE_MS, LOST_MS } from '../../../services/store/lease.ts';
import { ForgottenError, LostWritesError } from '../../../services/store/scripts.ts';
import type { ShardStore } from '../../../services/store/shard-store.ts';

const UNIX = 1_800_000_000_000;
const ROUND_MS = 800;

/** A keeper whose clock and Redis the test owns, its process awake every {@link ROUND_MS}. */
function keep() {
  let now = 0;
  let renewal: () => Promise<void> = async () => {};
  const told = { taken: 0, doubts: [] as number[], lost: 0 };
  const store = {
    takenUnix: UNIX,
    formerRemainingMs: 0,
    epoch: 100,
    renew: async () => {
      await renewal();
      return UNIX + now;
    },
    retake: async () => {
      told.taken++;
      store.epoch += 100;
      return UNIX + now;
    },
  };
  const events: LeaseEvents = {
    lost: () => told.lost++,
    doubt: (missedMs) => told.doubts.push(missedMs),
  };
  const keeper = new LeaseKeeper(store as unknown as ShardStore, { now: () => now } as Clock, 0, events);
  const round = async (ms = ROUND_MS, attended = true) => {
    now += ms;
    keeper.awake();
    await keeper.renew(attended);
  };
  return {
    keeper,
    told,
    round,
    now: () => now,
    sleep: (ms: number) => (now += ms),
    onRenewal: (work: typeof renewal) => (renewal = work),
  };
}

test('an owner that stood still for longer than its lease takes it anew, waits and doubts; a short stop is nothing', async () => {
  const { keeper, told, round, now } = keep();
  await round();
  await round(LEASE_MS - 1);
  assert.deepEqual(told, { taken: 0, doubts: [], lost: 0 });
  await round(20_000);
  assert.deepEqual(told, { taken: 1, doubts: [20_000], lost: 0 });
  assert.equal(keeper.ownership.fromMs, now() + LEASE_MS, 'another may believe it is his for as long as a lease');
  assert.equal(keeper.ownership.untilMs, now() + LEASE_MS);
  await round();
  assert.equal(told.taken, 1);
});

test('nor does a headend that comes make it go on where it stood still', async () => {
  const { keeper, told, round, sleep, now } = keep();
  await round();
  sleep(20_000);
  await keeper.claim(0);
  assert.deepEqual(told, { taken: 1, doubts: [20_000], lost: 0 });
  assert.equal(keeper.ownership.fromMs, now() + LEASE_MS);
  await round();
  assert.equal(told.taken, 1);
});

test('without Redis, but awake, it neither takes anew nor doubts', async () => {
  const { told, round, onRenewal } = keep();
  await round();
  onRenewal(async () => {
    throw new Error('Connection is closed.');
  });
  for (let n = 0; n < 100; n++) await assert.rejects(round());
  onRenewal(async () => {});
  await round();
  assert.deepEqual(told, { taken: 0, doubts: [], lost: 0 });
});

test('without Redis and without its headend it takes anew: Redis may have lost who had the shard meanwhile', async () => {
  for (const [rounds, doubted] of [
    [4, 5 * ROUND_MS],
    [100, LOST_MS + LEASE_MS],
  ] as const) {
    const { keeper, told, round, onRenewal, now } = keep();
    await round(ROUND_MS, false);
    onRenewal(async () => {
      throw new Error('Connection is closed.');
    });
    for (let n = 0; n < rounds; n++) await assert.rejects(round(ROUND_MS, false));
    onRenewal(async () => {});
    await round(ROUND_MS, false);
    assert.deepEqual(told, { taken: 1, doubts: [doubted], lost: 0 });
    assert.equal(keeper.ownership.fromMs, now() + LEASE_MS, 'another may believe it is his for as long as a lease');
    await round(ROUND_MS, false);
    assert.equal(told.taken, 1);
  }
});

test('nor does a headend that comes make it go on where it had no lease', async () => {
  const { keeper, told, round, onRenewal, sleep } = keep();
  await round();
  onRenewal(async () => {
    throw new Error('Connection is closed.');
  });
  for (let n = 0; n < 3; n++) await assert.rejects(round());
  keeper.left();
  onRenewal(async () => {});
  sleep(ROUND_MS);
  await keeper.claim(100);
  assert.deepEqual(told, { taken: 1, doubts: [4 * ROUND_MS], lost: 0 });
});

test('a headend that had the shard elsewhere, as Redis does not know, makes it doubt since that headend left', async () => {
  const { keeper, told, round } = keep();
  await round();
  keeper.left();
  for (let n = 0; n < 10; n++) await round(ROUND_MS, false);
  await keeper.claim(100);
  assert.equal(told.taken, 0, 'it was nowhere else');
  keeper.left();
  for (let n = 0; n < 10; n++) await round(ROUND_MS, false);
  await keeper.claim(150);
  assert.deepEqual(told, { taken: 1, doubts: [10 * ROUND_MS], lost: 0 });
  keeper.left();
  await round(ROUND_MS, false);
  await keeper.claim(200);
  assert.equal(told.taken, 1, 'it was told the new epoch');
});

test('an answer that waited while it stood still proves nothing: the next one decides', async () => {
  const { keeper, told, round, sleep, onRenewal } = keep();
  await round();
  onRenewal(async () => {
    sleep(20_000);
    keeper.awake();
  });
  await round();
  assert.deepEqual(told, { taken: 0, doubts: [], lost: 0 });
  onRenewal(async () => {});
  await round();
  assert.equal(told.taken, 1);
});

test('that Redis lost writes is told whoever finds out, a headend that comes as well', async () => {
  const { keeper, told, round, onRenewal } = keep();
  let losses = 2;
  onRenewal(async () => {
    if (losses-- > 0) throw new LostWritesError('write 1 is the last of 2 that Redis knows');
  });
  await round();
  assert.equal(told.lost, 1);
  await keeper.claim(0);
  assert.equal(told.lost, 2);
  await keeper.claim(0);
  assert.deepEqual(told, { taken: 0, doubts: [], lost: 2 });
});

test('what Redis forgot is taken at once by whoever was there, and late by one who was not', async () => {
  const { told, round, onRenewal } = keep();
  await round();
  const forgotten = async () => {
    throw new ForgottenError('no lease');
  };
  onRenewal(forgotten);
  await round();
  assert.deepEqual(told, { taken: 1, doubts: [], lost: 1 });
  await assert.rejects(round(20_000), ForgottenError);
  for (let n = 0; n < 3; n++) await assert.rejects(round(), ForgottenError);
  await round();
  assert.equal(told.taken, 2);
  assert.equal(told.doubts.length, 1);
});
