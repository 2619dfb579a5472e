import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Outcome } from '../../../proto/gen/dpd/v1/types_pb.js';
import {
  begin,
  type FailoverProgress,
  nextEndpoint,
  plan,
  type Situation,
  seenThrough,
} from '../../../services/failover/plan.ts';

const LIMITS = { deadlineMs: 60_000 };
const NOW = 1_000_000;
const SITUATION: Situation = {
  endpoints: 3,
  deadEndpoint: 0,
  nextEndpoint: 1,
  same: false,
  failed: undefined,
  knownDead: () => false,
};
const FAILED = { ...SITUATION, failed: 'timed out' };

test('a verdict is seen through once its SA is gone and, if asked for, its peer has come up elsewhere; or its peer lives', () => {
  const over = Object.values(Outcome).filter((one) => typeof one === 'number' && seenThrough(one));
  assert.deepEqual(over, [Outcome.CLEARED, Outcome.FAILED_OVER, Outcome.SA_GONE, Outcome.PEER_ALIVE, Outcome.NOTIFIED]);
});

describe('waiting for the acknowledgement', () => {
  test('there is nothing to see until the failover is out of time: then it is given up', () => {
    const progress = begin(NOW, 1);
    for (const ms of [0, 5_000, 60_000])
      assert.deepEqual(plan(progress, SITUATION, LIMITS, NOW + ms), { kind: 'wait', dueUnix: NOW + 60_001 });
    assert.deepEqual(plan(progress, SITUATION, LIMITS, NOW + 60_001), { kind: 'giveUp', reason: 'not acknowledged' });
  });
});

describe('after an acknowledgement that no endpoint came up', () => {
  const progress = begin(NOW, 1);

  test('the next endpoint, to be acknowledged in what time is left', () => {
    const step = plan(progress, FAILED, LIMITS, NOW + 10_500);
    assert(step.kind === 'advance');
    assert.equal(step.endpoint, 2);
    assert.equal(step.dueUnix, NOW + 60_001);
    assert.deepEqual(step.progress, { ...progress, attempt: 1, attemptUnix: NOW + 10_500, tried: [1, 2] });
  });

  test('of a restart the same endpoint is tried again, slower each time, and never another', () => {
    const same = { ...FAILED, same: true, nextEndpoint: 0 };
    let progress = begin(NOW, 0);
    let now = NOW;
    const waits: number[] = [];
    while (waits.length < 4) {
      const step = plan(progress, same, LIMITS, now);
      if (step.kind === 'wait') {
        waits.push(step.dueUnix - now);
        now = step.dueUnix;
        continue;
      }
      assert(step.kind === 'advance');
      assert.equal(step.endpoint, 0);
      progress = step.progress;
    }
    assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000]);
  });

  test('did not come up: each endpoint once, the dead one last, then again from the start, slower', () => {
    let progress: FailoverProgress = begin(NOW, 1);
    let now = NOW;
    const tried = [1];
    const waits: number[] = [];
    while (tried.length < 9) {
      const step = plan(progress, { ...FAILED, nextEndpoint: tried.at(-1)! }, LIMITS, now);
      if (step.kind === 'wait') {
        waits.push(step.dueUnix - now);
        now = step.dueUnix;
        continue;
      }
      assert(step.kind === 'advance');
      tried.push(step.endpoint);
      progress = step.progress;
    }
    assert.deepEqual(tried, [1, 2, 0, 1, 2, 0, 1, 2, 0]);
    assert.deepEqual(waits, [1_000, 2_000]);
    assert.equal(progress.attempt, 8);
  });

  test('no endpoint in time: given up, with the last reason', () => {
    const step = plan(progress, FAILED, LIMITS, NOW + 61_000);
    assert.deepEqual(step, { kind: 'giveUp', reason: 'no endpoint came up in 1 attempts; the last: timed out' });
  });
});

describe('the next endpoint', () => {
  test('those known to be dead come after all others', () => {
    assert.equal(
      nextEndpoint(4, 0, 0, [], (n) => n === 1),
      2,
    );
    assert.equal(
      nextEndpoint(4, 0, 2, [2], (n) => n === 3),
      1,
    );
    assert.equal(
      nextEndpoint(4, 0, 0, [], () => true),
      1,
    );
    assert.equal(
      nextEndpoint(1, 0, 0, [], () => false),
      0,
    );
  });

  test('property: a round tries every endpoint exactly once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 16 }), fc.nat(), fc.func(fc.boolean()), (endpoints, seed, dead) => {
        const deadEndpoint = seed % endpoints;
        const tried: number[] = [];
        for (let from = deadEndpoint; ; from = tried.at(-1)!) {
          const next = nextEndpoint(endpoints, deadEndpoint, from, tried, dead);
          if (next === undefined) break;
          tried.push(next);
        }
        assert.equal(new Set(tried).size, endpoints);
        assert.equal(tried.length, endpoints);
        assert.equal(tried.at(-1), deadEndpoint);
      }),
    );
  });
});
