import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../../services/base/clock.ts';
import { LeaseKeeper } from '../../../../services/node/shard/lease-keeper.ts';
import { ForgottenError, LostWritesError } from '../../../../workers/base/errors.ts';

const UNIX = 1_800_000_000_000;
const ROUND_MS = 800;

/** A keeper whose clock and Redis the test owns. */
function keep() {
  let now = 0;
  let renewal: () => Promise<void> = async () => {};
  const told = { taken: 0, lost: 0 };
  const store = {
    takenUnix: UNIX,
    /** Redis does not know of all writes when the lease is taken anew. */
    lost: false,
    renew: async () => {
      await renewal();
      return UNIX + now;
    },
    retake: async () => {
      told.taken++;
      return { epoch: 2, takenUnix: UNIX + now, lastWrite: 0, lost: store.lost };
    },
  };
  const keeper = new LeaseKeeper(store, { now: () => now } as Clock, 0, { lostWrites: () => told.lost++ });
  return {
    keeper,
    store,
    told,
    round: (ms = ROUND_MS, headendConnected = true) => {
      now += ms;
      return keeper.renew(headendConnected);
    },
    onRenewal: (work: typeof renewal) => (renewal = work),
  };
}

test('for how long Redis has not known the owner counts from when the last renewal that it took was sent', async () => {
  const { keeper, round, onRenewal } = keep();
  await round();
  assert.equal(keeper.overdueMs, 0);
  onRenewal(async () => {
    throw new Error('Connection is closed.');
  });
  for (let n = 0; n < 3; n++) await assert.rejects(round());
  assert.equal(keeper.overdueMs, 3 * ROUND_MS);
  onRenewal(async () => {});
  await round();
  assert.equal(keeper.overdueMs, 0);
});

test('that Redis lost writes is told, and the lease goes on', async () => {
  const { keeper, told, round, onRenewal } = keep();
  let losses = 1;
  onRenewal(async () => {
    if (losses-- > 0) throw new LostWritesError('write 1 is the last of 2 that Redis knows');
  });
  await round();
  await round();
  assert.deepEqual(told, { taken: 0, lost: 1 });
  assert.equal(keeper.overdueMs, 0);
});

test('what Redis forgot is taken at once by whoever has the headend, and late by one who has not', async () => {
  const { told, store, round, onRenewal } = keep();
  store.lost = true;
  onRenewal(async () => {
    throw new ForgottenError('no lease');
  });
  await round();
  assert.deepEqual(told, { taken: 1, lost: 1 });
  for (let n = 0; n < 4; n++) await assert.rejects(round(ROUND_MS, false), ForgottenError);
  await round(ROUND_MS, false);
  assert.deepEqual(told, { taken: 2, lost: 2 });
});

test('Redis’s time is told as of its last answer, so that a checkpoint is never younger than it is', async () => {
  const { keeper, round } = keep();
  assert.equal(keeper.redisTime(50), UNIX + 50);
  await round();
  assert.equal(keeper.redisTime(ROUND_MS - 100), UNIX + ROUND_MS - 100);
});
