import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { begin, nextEndpoint, type Pursuit, plan, type Situation } from '../../../services/failover/plan.ts';

const LIMITS = { deadlineMs: 60_000 };
const NOW = 1_000_000;
const SITUATION: Situation = {
  endpoints: 3,
  deadEndpoint: 0,
  nextEndpoint: 1,
  detectionMs: 5_000,
  acknowledged: undefined,
  successor: 'UNKNOWN',
  knownDead: () => false,
};
const acknowledged = (outcome: string, successor = '') => ({ ...SITUATION, acknowledged: { outcome, successor } });

describe('waiting for the acknowledgement', () => {
  test('a fresh verdict is waited for, an old one delivered again, a hopeless one given up', () => {
    const pursuit = begin(NOW, 1);
    assert.deepEqual(plan(pursuit, SITUATION, LIMITS, NOW + 500), {
      kind: 'wait',
      dueUnix: NOW + 10_000,
      deliver: false,
    });
    const later = plan(pursuit, SITUATION, LIMITS, NOW + 11_000);
    assert(later.kind === 'wait' && later.deliver);
    assert.equal(plan(pursuit, SITUATION, LIMITS, NOW + 61_000).kind, 'giveUp');
  });
});

describe('after the acknowledgement', () => {
  const pursuit = begin(NOW, 1);
  const at = (situation: Situation, ms: number) => plan(pursuit, situation, LIMITS, NOW + ms);

  test('cleared, or gone already: done', () => {
    assert.equal(at(acknowledged('CLEARED'), 10).kind, 'done');
    assert.equal(at(acknowledged('SA_GONE'), 10).kind, 'done');
  });

  test('failed over: done when the new SA shows life, or has a verdict of its own', () => {
    const over = acknowledged('FAILED_OVER', 'ab');
    assert.equal(at(over, 10).kind, 'wait');
    assert.equal(at({ ...over, successor: 'ALIVE' }, 10).kind, 'done');
    assert.equal(at({ ...over, successor: 'DEAD' }, 10).kind, 'done');
  });

  test('failed over, but the new SA is never registered: the next endpoint', () => {
    const step = at(acknowledged('FAILED_OVER', 'ab'), 10_500);
    assert(step.kind === 'advance');
    assert.equal(step.endpoint, 2);
    assert.equal(step.pursuit.attempt, 1);
  });

  test('registered, but replaced before it showed life: another endpoint would hurt a tunnel that works', () => {
    const over = { ...acknowledged('FAILED_OVER', 'ab'), successor: 'HELD' as const };
    assert.equal(at(over, 15_000).kind, 'wait');
    assert.equal(at(over, 21_000).kind, 'done');
  });

  test('did not come up: each endpoint once, the dead one last, then again from the start, slower', () => {
    let pursuit: Pursuit = begin(NOW, 1);
    let now = NOW;
    const tried = [1];
    const waits: number[] = [];
    while (tried.length < 9) {
      const step = plan(pursuit, { ...acknowledged('FAILOVER_FAILED'), nextEndpoint: tried.at(-1)! }, LIMITS, now);
      if (step.kind === 'wait') {
        waits.push(step.dueUnix - now);
        now = step.dueUnix;
        continue;
      }
      assert(step.kind === 'advance');
      tried.push(step.endpoint);
      pursuit = step.pursuit;
    }
    assert.deepEqual(tried, [1, 2, 0, 1, 2, 0, 1, 2, 0]);
    assert.deepEqual(waits, [1_000, 2_000]);
    assert.equal(pursuit.attempt, 8);
  });

  test('no endpoint in time: given up', () => {
    const step = at(acknowledged('FAILOVER_FAILED'), 61_000);
    assert(step.kind === 'giveUp');
    assert.match(step.reason, /1 attempts/);
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
