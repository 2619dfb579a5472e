import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Direction, Interlock, MAX_WAYS, NO_WAY } from '../../../workers/liveness/interlock.ts';
import { Flag } from '../../../workers/liveness/peers.ts';

const PARKED = Flag.GATED | Flag.READY;

/** Canaries came home in both directions. */
function vouchBoth(interlock: Interlock, way: number, sentAt: number, until: number): void {
  interlock.vouch(way, Direction.OUT, sentAt, until);
  interlock.vouch(way, Direction.IN, sentAt, until);
}

test('a peer that is not gated may always be probed', () => {
  assert.equal(new Interlock().mayProbe(0, NO_WAY, 0), true);
});

describe('a gated peer', () => {
  test('may be probed from the canaries that came home until they are too old, and only if its SA is parked', () => {
    const interlock = new Interlock();
    assert.equal(interlock.mayProbe(PARKED, 0, 5_000), false);
    vouchBoth(interlock, 0, 5_000, 6_500);
    assert.deepEqual(
      [5_000, 6_499, 6_500].map((now) => interlock.mayProbe(PARKED, 0, now)),
      [true, true, false],
    );
    assert.equal(interlock.mayProbe(Flag.GATED, 0, 5_000), false);
  });

  for (const [name, direction] of Object.entries(Direction))
    test(`may not with canaries home in direction ${name} alone: both ways must be proven`, () => {
      const interlock = new Interlock();
      interlock.vouch(0, direction, 5_000, 6_500);
      assert.equal(interlock.mayProbe(PARKED, 0, 5_001), false);
      assert.equal(interlock.vouchedAt(0), Number.NEGATIVE_INFINITY);
    });

  test('may by its own way only: another address of the hub proves nothing for it', () => {
    const interlock = new Interlock();
    vouchBoth(interlock, 1, 5_000, 6_500);
    assert.deepEqual(
      [0, 1, MAX_WAYS - 1, MAX_WAYS, NO_WAY].map((way) => interlock.mayProbe(PARKED, way, 5_001)),
      [false, true, false, false, false],
    );
  });
});

test('a way is judged by its newest canary, in whatever order they come home', () => {
  const interlock = new Interlock();
  vouchBoth(interlock, 0, 5_000, 6_500);
  vouchBoth(interlock, 0, 4_500, 6_000);
  assert.deepEqual([interlock.vouchedAt(0), interlock.vouched(0, 6_400)], [5_000, true]);
});

test('ways that are known to be broken are good again with canaries sent since', () => {
  const interlock = new Interlock();
  vouchBoth(interlock, 0, 5_000, 6_500);
  interlock.distrust();
  vouchBoth(interlock, 0, 5_000, 6_500);
  assert.equal(interlock.mayProbe(PARKED, 0, 5_500), false);
  assert.equal(interlock.anyVouched(5_500), false);
  vouchBoth(interlock, 0, 5_600, 7_100);
  assert.equal(interlock.mayProbe(PARKED, 0, 5_700), true);
  assert.equal(interlock.anyVouched(5_700), true);
});
