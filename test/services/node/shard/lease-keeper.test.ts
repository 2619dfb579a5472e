import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../../services/base/clock.ts';
import { type LeaseEvents, LeaseKeeper } from '../../../../services/node/shard/lease-keeper.ts';
import { ForgottenError, LostWritesError } from '../../../../services/store/redis/scripts.ts';
import { LEASE_MS, LEASELESS_MS, LOST_MS } from '../../../../services/store/shard/lease.ts';
import type { ShardStore } from '../../../../services/store/shard/shard-store.ts';

const UNIX = 1_800_000_000_000;
const ROUND_MS = 800;

/** A keeper whose clock and Redis the test owns, its process awake every {@link ROUND_MS}. */
function keep({ formerRemainingMs = 0 } = {}) {
  let now = 0;
  let renewal: () => Promise<void> = async () => {};
  const told = { taken: 0, doubts: [] as number[], lost: 0 };
  const store = {
    takenUnix: UNIX,
    formerRemainingMs,
    epoch: 100,
    attended: false,
    attendedAt: 0,
    /** Redis does not know of all writes when the lease is taken anew. */
    lost: false,
    renew: async (attended: boolean) => {
      await renewal();
      if (!store.attended) store.attendedAt = now;
      store.attended = attended;
      return { nowUnix: UNIX + now, attendedSinceUnix: UNIX + store.attendedAt };
    },
    retake: async ({ attended, unstoppedMs }: { attended: boolean; unstoppedMs: number }) => {
      told.taken++;
      store.epoch += 100;
      store.attended = attended;
      const { lost, attendedAt } = store;
      return { takenUnix: UNIX + now, formerRemainingMs: unstoppedMs, attendedSinceUnix: UNIX + attendedAt, lost };
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
    store,
    told,
    round,
    now: () => now,
    sleep: (ms: number) => (now += ms),
    onRenewal: (work: typeof renewal) => (renewal = work),
  };
}

test('an owner asks no gated peer before all are surely gone who had the shard before', async () => {
  const { keeper, round } = keep({ formerRemainingMs: 2_000 });
  await keeper.claim(90);
  await round();
  assert.equal(keeper.ownership.fromMs, 2_000);
});

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
  await keeper.claim(90);
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
  const { keeper, store, told, round } = keep();
  await round();
  keeper.left();
  for (let n = 0; n < 10; n++) await round(ROUND_MS, false);
  await keeper.claim(100);
  assert.equal(told.taken, 0, 'it was nowhere else');
  keeper.left();
  for (let n = 0; n < 10; n++) await round(ROUND_MS, false);
  await keeper.claim(150);
  assert.deepEqual(told, { taken: 1, doubts: [10 * ROUND_MS], lost: 0 });
  assert(store.attended, 'others would adopt it');
  keeper.left();
  await round(ROUND_MS, false);
  await keeper.claim(200);
  assert.equal(told.taken, 1, 'it was told the new epoch');
});

test('a voucher is enough without Redis only when Redis cannot lose any more that the headend is connected', async () => {
  const { keeper, told, store, round, now, onRenewal } = keep();
  const grace = () => keeper.ownership.vouchedUntilMs - now();
  const rounds = Math.ceil(LOST_MS / ROUND_MS);
  await keeper.claim(90);
  for (let n = 0; n < rounds - 1; n++) await round();
  assert.equal(grace(), LEASE_MS);
  await round();
  assert.equal(grace(), LEASELESS_MS);
  // Redis lost it, and says so.
  store.attended = false;
  await round();
  assert.equal(grace(), LEASE_MS);
  for (let n = 0; n < rounds; n++) await round();
  assert.equal(grace(), LEASELESS_MS);
  // Redis lost writes, and says only with the next renewal whether it lost that, too.
  let losses = 1;
  onRenewal(async () => {
    if (losses-- > 0) throw new LostWritesError('write 1 is the last of 2 that Redis knows');
  });
  await round();
  assert.equal(grace(), LEASE_MS - ROUND_MS);
  await round();
  assert.equal(grace(), LEASELESS_MS);
  keeper.left();
  await round(ROUND_MS, false);
  await keeper.claim(100);
  await round();
  assert.equal(grace(), LEASE_MS);
  assert.deepEqual(told, { taken: 0, doubts: [], lost: 1 });
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

test('so it is when the lease is taken anew, which nothing that was written before is missed after', async () => {
  for (const come of ['renewal', 'headend']) {
    const { keeper, store, told, round, sleep } = keep();
    await round();
    store.lost = true;
    if (come === 'renewal') await round(20_000);
    else {
      sleep(20_000);
      await keeper.claim(0);
    }
    assert.deepEqual(told, { taken: 1, doubts: [20_000], lost: 1 });
  }
});

test('what Redis forgot is taken at once by whoever was there, and late by one who was not', async () => {
  const { told, store, round, onRenewal } = keep();
  await round();
  store.lost = true;
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
