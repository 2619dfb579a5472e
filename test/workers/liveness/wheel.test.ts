import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TICK_MS, TimingWheel } from '../../../workers/liveness/wheel.ts';

test('every timer fires once, in its tick, never early', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('schedule' as const), handle: fc.nat(63), delay: fc.nat(5_000_000) }),
    fc.record({ kind: fc.constant('cancel' as const), handle: fc.nat(63), delay: fc.constant(0) }),
    fc.record({ kind: fc.constant('advance' as const), handle: fc.constant(0), delay: fc.nat(200_000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.nat(1e9), (steps, start) => {
      const wheel = new TimingWheel(start, 64);
      const expected = new Map<number, number>();
      let now = start;
      for (const { kind, handle, delay } of steps) {
        if (kind === 'schedule') {
          wheel.schedule(handle, now + delay);
          expected.set(handle, now + delay);
        } else if (kind === 'cancel') {
          wheel.cancel(handle);
          expected.delete(handle);
        } else {
          now += delay;
          wheel.advance(now, (due, dueMs) => {
            const at = expected.get(due);
            assert(at !== undefined, `handle ${due} fired without a timer`);
            assert(dueMs >= at || at < now - delay, `handle ${due} fired early`);
            expected.delete(due);
          });
          for (const [left, at] of expected) assert(at > now - 2 * TICK_MS, `handle ${left} was missed`);
        }
      }
    }),
  );
});

test('a timer beyond the top level waits and still fires', () => {
  const wheel = new TimingWheel(0, 1);
  const far = TICK_MS * 2 ** 32 + 10_000;
  wheel.schedule(0, far);
  let fired = 0;
  const jump = TICK_MS * 2 ** 24;
  for (let now = 0; now < far - jump; now += jump) wheel.cancel(0);
  wheel.schedule(0, 60_000);
  wheel.advance(59_999, () => fired++);
  assert.equal(fired, 0);
  wheel.advance(60_000 + TICK_MS, () => fired++);
  assert.equal(fired, 1);
});

test('a handler may set the timer that fires again', () => {
  const wheel = new TimingWheel(0, 4);
  wheel.schedule(1, 10);
  const times: number[] = [];
  wheel.advance(100, (handle, dueMs) => {
    times.push(dueMs);
    if (times.length < 3) wheel.schedule(handle, dueMs + 20);
  });
  assert.deepEqual(times, [10, 30, 50]);
});

test('growing keeps timers', () => {
  const wheel = new TimingWheel(0, 2);
  wheel.schedule(1, 50);
  wheel.grow(1000);
  wheel.schedule(999, 60);
  const fired: number[] = [];
  wheel.advance(100, (handle) => fired.push(handle));
  assert.deepEqual(fired, [1, 999]);
});

test('property: a wheel that is held up lets nothing be lost or overtake, and catches up', () => {
  const timers = fc.array(fc.nat(20_000), { minLength: 1, maxLength: 100 });
  fc.assert(
    fc.property(timers, fc.array(fc.nat(10), { minLength: 1, maxLength: 50 }), (delays, allowances) => {
      const wheel = new TimingWheel(0, delays.length);
      delays.forEach((delay, handle) => {
        wheel.schedule(handle, delay);
      });
      const fired: { handle: number; dueMs: number }[] = [];
      let allowed = 0;
      for (let now = 0, n = 0; fired.length < delays.length; now += 200, n++) {
        assert(now < 20_000 + 200 * 300, 'the wheel does not catch up');
        // Now and then a call that lets something through, so that it ends.
        allowed = n % 3 === 0 ? 3 : allowances[n % allowances.length]!;
        const before = fired.length;
        const limit = allowed;
        wheel.advance(
          now,
          (handle, dueMs) => fired.push({ handle, dueMs }),
          () => allowed-- > 0,
        );
        assert(fired.length - before <= limit);
        if (wheel.atMs < Math.floor(now / TICK_MS) * TICK_MS) assert(wheel.idleUntilMs <= now);
      }
      assert.equal(new Set(fired.map(({ handle }) => handle)).size, delays.length);
      fired.forEach(({ handle, dueMs }, n) => {
        assert(dueMs >= delays[handle]! && dueMs < delays[handle]! + 2 * TICK_MS);
        if (n > 0) assert(dueMs >= fired[n - 1]!.dueMs);
      });
    }),
  );
});
