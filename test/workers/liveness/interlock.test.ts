import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Interlock } from '../../../workers/liveness/interlock.ts';
import { Flag } from '../../../workers/liveness/peers.ts';

const PARKED = Flag.GATED | Flag.READY;
const OWNED = { fromMs: 1_000, untilMs: 3_500, vouchedUntilMs: 10_000 };

test('a peer that is not gated may always be probed', () => {
  const interlock = new Interlock();
  interlock.own(OWNED, false);
  assert.deepEqual(
    [0, 50_000].map((now) => interlock.mayProbe(0, now)),
    [true, true],
  );
});

describe('a gated path', () => {
  test('is good from the canary that was seen until its voucher runs out, and for parked SAs only', () => {
    const interlock = new Interlock();
    assert.equal(interlock.mayProbe(PARKED, 5_000), false);
    interlock.vouch(5_000, 6_500);
    assert.deepEqual(
      [5_000, 6_499, 6_500].map((now) => interlock.mayProbe(PARKED, now)),
      [true, true, false],
    );
    assert.equal(interlock.mayProbe(Flag.GATED, 5_000), false);
  });

  test('is judged by the newest canary, in whatever order they are reported', () => {
    const interlock = new Interlock();
    interlock.vouch(5_000, 6_500);
    interlock.vouch(4_500, 6_000);
    assert.deepEqual([interlock.vouchedAt, interlock.vouched(6_400)], [5_000, true]);
  });

  test('that is known to be broken is good again with a canary sent since', () => {
    const interlock = new Interlock();
    interlock.vouch(5_000, 6_500);
    interlock.distrust();
    interlock.vouch(5_000, 6_500);
    assert.equal(interlock.mayProbe(PARKED, 5_500), false);
    interlock.vouch(5_600, 7_100);
    assert.equal(interlock.mayProbe(PARKED, 5_700), true);
  });

  test('belongs to a former owner at first, and without Redis to nobody in the end, voucher or not', () => {
    const interlock = new Interlock();
    interlock.own(OWNED, false);
    interlock.vouch(900, 20_000);
    assert.deepEqual(
      [999, 1_000, 9_999, 10_000].map((now) => interlock.mayProbe(PARKED, now)),
      [false, true, true, false],
    );
  });
});

test('an open path needs the lease alone, and a voucher when that has run out', () => {
  const interlock = new Interlock();
  interlock.own(OWNED, true);
  assert.deepEqual(
    [999, 1_000, 3_499, 3_500].map((now) => [now, interlock.mayProbe(Flag.GATED, now)]),
    [
      [999, false],
      [1_000, true],
      [3_499, true],
      [3_500, false],
    ],
  );
  interlock.vouch(3_400, 4_900);
  assert.equal(interlock.mayProbe(PARKED, 3_500), true);
});
