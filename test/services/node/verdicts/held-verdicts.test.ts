import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Decision } from '../../../../services/node/verdicts/decision.ts';
import { HeldVerdicts } from '../../../../services/node/verdicts/held-verdicts.ts';

const SETTINGS = { longestMs: 60_000, smallMs: 5_000, onExpiry: 'release', releasePerSecond: 2 } as const;

function rig(settings: Partial<ConstructorParameters<typeof HeldVerdicts>[0]> = {}) {
  let now = 0;
  const held = new HeldVerdicts({ ...SETTINGS, ...settings }, { now: () => now } as never);
  return {
    held,
    pass: (ms: number) => {
      now += ms;
    },
    add: (handle: number, small = false) =>
      held.add({
        decision: { handle } as Decision,
        site: 0,
        reason: { scope: 'headend', name: 'hub', silent: 9, asked: 9, small },
      }),
    /** Handles by what is to become of them. */
    sweep: (stormy: boolean) => {
      const { ask, give, drop } = held.sweep(() => stormy);
      const handles = (verdicts: typeof ask) => verdicts.map(({ decision }) => decision.handle);
      return { ask: handles(ask), give: handles(give), drop: handles(drop) };
    },
  };
}

const NONE = { ask: [], give: [], drop: [] };

describe('a verdict held in a storm', () => {
  test('is given after the storm only when its peer was asked anew and is silent still, a few peers at a time', () => {
    const { held, add, sweep } = rig();
    for (let handle = 0; handle < 3; handle++) add(handle);
    assert.deepEqual(sweep(true), NONE);
    assert.equal(held.confirm(0), undefined, 'what is held counts for nothing yet');
    assert.deepEqual(sweep(false), { ...NONE, ask: [0, 1] });
    assert.deepEqual(sweep(false), { ...NONE, ask: [2] });
    assert.equal(held.confirm(0)?.decision.handle, 0);
    assert(held.cancel(1), 'it answered what was asked anew');
    assert.equal(held.confirm(1), undefined);
    assert.deepEqual(held.counters, { held: 3, cancelled: 1, released: 1, dropped: 0 });
  });

  test('is held once however often its peer is asked anew, and no longer than the longest time', () => {
    const { held, add, sweep, pass } = rig();
    add(0);
    assert.deepEqual(sweep(false).ask, [0]);
    pass(40_000);
    assert.equal(held.expired(0), false);
    // Another storm.
    add(0);
    assert.equal(held.counters.held, 1);
    assert.deepEqual(sweep(true), NONE);
    pass(20_000);
    assert.deepEqual(sweep(true).ask, [0]);
    assert(held.expired(0), 'its silence counts, whatever the storm');
  });

  test('is held for a shorter time where all of a few are silent', () => {
    const { add, sweep, pass } = rig();
    add(0, true);
    pass(4_999);
    assert.deepEqual(sweep(true), NONE);
    pass(1);
    assert.deepEqual(sweep(true).ask, [0]);
  });

  test('is forgotten when its time is over, if so set', () => {
    const { add, sweep, pass } = rig({ onExpiry: 'drop' });
    add(0);
    pass(60_000);
    assert.deepEqual(sweep(true), { ...NONE, drop: [0] });
  });

  test('is true, or is not, if an operator says so, without asking', () => {
    for (const [word, expected] of [
      ['release', { ...NONE, give: [0] }],
      ['drop', { ...NONE, drop: [0] }],
    ] as const) {
      const { held, add, sweep } = rig();
      add(0);
      assert.equal(held.decide(word), 1);
      assert.deepEqual(sweep(true), expected);
      add(1);
      assert.deepEqual(sweep(true), NONE, 'he decided for those that were held then');
    }
  });
});
