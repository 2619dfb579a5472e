import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findPreset, PRESET_NAMES } from '../../../../services/api/policy/presets.ts';
import { StormGuard } from '../../../../services/node/verdicts/storm-guard.ts';
import { Machine } from '../../../../workers/liveness/machine.ts';
import { Mode, type Policy } from '../../../../workers/liveness/policy.ts';

const ID = { headend: 'hub', shard: 0 };
const OTHER = { headend: 'hub', shard: 1 };

/** A guard under a virtual clock, fed with outcomes by shard and site. */
function rig(share = 0.5, count = 20) {
  let now = 0;
  const clock = { now: () => now } as never;
  const guard = new StormGuard({ share, count, windowMs: 10_000 }, clock, (site) => ['', 'east', 'west'][site] ?? '');
  const totals = new Map<string, { well: Uint32Array; silent: Uint32Array }>();
  return {
    guard,
    pass: (ms: number) => {
      now += ms;
    },
    tell(id: typeof ID, well: number, silent: number, site = 0) {
      const key = `${id.shard}`;
      const total = totals.get(key) ?? { well: new Uint32Array(4), silent: new Uint32Array(4) };
      total.well[site]! += well;
      total.silent[site]! += silent;
      totals.set(key, total);
      guard.outcomes(id, { well: total.well.slice(), silent: total.silent.slice() });
    },
  };
}

describe('storm', () => {
  test('deaths now and then are believed', () => {
    const { guard, tell, pass } = rig();
    for (let n = 0; n < 40; n++) {
      tell(ID, 100, 1);
      pass(250);
      assert.equal(guard.reason(ID, 0), undefined);
    }
  });

  test('all silent at once: held from the first verdict on, though the window is full of answers', () => {
    const { guard, tell, pass } = rig();
    for (let n = 0; n < 36; n++) {
      tell(ID, 25, 0);
      pass(250);
    }
    for (let n = 0; n < 4; n++) {
      tell(ID, 0, 10);
      pass(250);
    }
    assert.equal(guard.reason(ID, 0)?.scope, 'node');
  });

  test('it ends when peers answer again, not when nobody is asked', () => {
    const { guard, tell, pass } = rig();
    tell(ID, 0, 50);
    assert(guard.reason(ID, 0));
    pass(60_000);
    assert(guard.reason(ID, 0), 'ended by silence');
    tell(ID, 100, 1);
    assert.equal(guard.reason(ID, 0), undefined);
  });

  test('one headend of many: its verdicts are held, others are not', () => {
    const { guard, tell } = rig();
    const far = { headend: 'far', shard: 0 };
    tell(ID, 0, 40);
    guard.outcomes(far, { well: Uint32Array.of(500), silent: Uint32Array.of(0) });
    assert.equal(guard.reason(ID, 0)?.scope, 'headend');
    assert.equal(guard.reason(far, 0), undefined);
  });

  test('one site of a headend', () => {
    const { guard, tell } = rig();
    tell(ID, 500, 0, 1);
    tell(ID, 2, 25, 2);
    assert.deepEqual(guard.reason(ID, 2), { scope: 'site', name: 'hub/west', silent: 25, asked: 27, small: false });
    assert.equal(guard.reason(ID, 1), undefined);
    assert.equal(guard.reason(OTHER, 0), undefined);
  });

  test('a node that reaches nobody suspects itself, with five peers already', () => {
    const { guard, tell } = rig();
    tell(ID, 0, 5);
    assert.equal(guard.reason(ID, 0)?.scope, 'node');
  });

  test('a small headend whose peers are all silent, two at least; one that answers is enough against it', () => {
    const { guard, tell, pass } = rig();
    const far = { headend: 'far', shard: 0 };
    guard.outcomes(far, { well: Uint32Array.of(500), silent: Uint32Array.of(0) });
    tell(ID, 0, 1);
    assert.equal(guard.reason(ID, 0), undefined, 'one peer is one death');
    tell(OTHER, 0, 1);
    assert.deepEqual(guard.reason(ID, 0), { scope: 'headend', name: 'hub', silent: 2, asked: 2, small: true });
    assert.equal(guard.reason(far, 0), undefined);
    pass(1_000);
    tell(OTHER, 1, 0);
    assert.equal(guard.reason(ID, 0), undefined);
  });

  test('fewer than the count, and somebody answers: believed', () => {
    const { guard, tell } = rig();
    tell(ID, 1, 19);
    assert.equal(guard.reason(ID, 0), undefined);
  });

  test('switched off', () => {
    const { guard, tell } = rig(0);
    tell(ID, 0, 1_000);
    assert.equal(guard.reason(ID, 0), undefined);
  });
});

/** Peers that all fall silent at 0: how many of their verdicts are held. */
function heldAfterCut(policy: Policy, spread: boolean): number {
  const { guard, pass } = rig();
  const dead: number[] = [];
  let held = 0;
  const machine = new Machine(0, 128, { probe: () => 0, recovered: () => {}, verdict: (handle) => dead.push(handle) });
  const heardAt = (handle: number) => (spread ? (-handle / 100) * policy.intervalMs : 0);
  for (let handle = 0; handle < 100; handle++) machine.add(handle, policy, heardAt(handle), { proven: true });
  for (let now = 0, judged = 0; judged < 100 && now < 600_000; now += 5) {
    machine.advance(now);
    const { outcomes } = machine.counters;
    if (outcomes.changed && (dead.length > 0 || now % 250 === 0)) guard.outcomes(ID, outcomes.read());
    judged += dead.length;
    for (const handle of dead.splice(0)) {
      if (!guard.reason(ID, 0)) continue;
      machine.hold(handle);
      held++;
    }
    pass(5);
  }
  return held;
}

test('a cut is seen at the first verdict already, with every schedule of retries', () => {
  const plain = {
    mode: Mode.ON_IDLE,
    intervalMs: 10_000,
    retryIntervalMs: 5_000,
    retries: 5,
    jitterPercent: 10,
    unprovenMs: 0,
  };
  const of = (retryScheduleMs: number[]) => ({ ...plain, retryIntervalMs: 0, retries: 0, retryScheduleMs });
  const policies: Policy[] = [plain, of([10_000, 10_000]), of([4_000, 4_000, 4_000, 4_000, 4_000]), of([20_000, 200])];
  for (const name of PRESET_NAMES) {
    const { retryScheduleMs, ...preset } = findPreset(name)!.policy as Partial<Policy>;
    policies.push(retryScheduleMs ? of([...retryScheduleMs]) : { ...plain, ...preset, mode: Mode.ON_IDLE });
  }
  for (const policy of policies)
    for (const spread of [true, false]) assert.equal(heldAfterCut(policy, spread), 100, JSON.stringify(policy));
});
