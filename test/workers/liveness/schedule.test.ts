import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { detectionMs, waitsOf } from '../../../workers/liveness/schedule.ts';

const times = (values: Float64Array) => [...values].slice(1);

test('waits are fixed, grow by a factor up to a limit, or are listed', () => {
  const fixed = waitsOf({ retryIntervalMs: 2_000, retries: 3 });
  assert.deepEqual(
    [times(fixed.waits), times(fixed.ends)],
    [
      [2_000, 2_000, 2_000],
      [2_000, 4_000, 6_000],
    ],
  );
  const limited = waitsOf({ retryIntervalMs: 1_000, retries: 5, retryFactorPercent: 200, retryLimitMs: 5_000 });
  assert.deepEqual(times(limited.waits), [1_000, 2_000, 4_000, 5_000, 5_000]);
  const listed = waitsOf({ retryIntervalMs: 0, retries: 0, retryScheduleMs: [3_000, 6_000, 12_000] });
  assert.deepEqual([listed.retries, times(listed.ends)], [3, [3_000, 9_000, 21_000]]);
});

test("strongSwan's 4 s x 1.8^n, sent six times, is 165 s", () => {
  const { waits, ends } = waitsOf({ retryIntervalMs: 4_000, retries: 6, retryFactorPercent: 180 });
  assert.deepEqual(times(waits), [4_000, 7_200, 12_960, 23_328, 41_990, 75_583]);
  assert.equal(ends[6], 165_061);
});

test('property: the waits add up to the detection time, and none is shorter than it was', () => {
  const schedule = fc.record({
    intervalMs: fc.integer({ min: 200, max: 60_000 }),
    retryIntervalMs: fc.integer({ min: 200, max: 60_000 }),
    retries: fc.integer({ min: 1, max: 20 }),
    retryFactorPercent: fc.constantFrom(0, 100, 150, 180, 1_000),
    retryLimitMs: fc.constantFrom(0, 60_000, 300_000),
  });
  fc.assert(
    fc.property(schedule, (policy) => {
      const { retries, waits, ends } = waitsOf(policy);
      let sum = 0;
      for (let n = 1; n <= retries; n++) {
        sum += waits[n]!;
        assert.equal(ends[n], sum);
        if (n > 1) assert(waits[n]! >= waits[n - 1]!);
        if (policy.retryLimitMs > 0) assert(waits[n]! <= policy.retryLimitMs);
      }
      assert.equal(detectionMs(policy), policy.intervalMs + sum);
    }),
  );
});
