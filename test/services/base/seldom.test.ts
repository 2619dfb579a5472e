import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../../../services/base/log.ts';
import { Seldom } from '../../../services/base/seldom.ts';

test('a line comes at once, then once a minute with the number of those left out; another line has its own time', () => {
  const lines: unknown[] = [];
  let now = 0;
  const seldom = new Seldom({ warn: (...line: unknown[]) => lines.push(line) } as unknown as Logger, () => now);
  for (; now < 60_000; now += 100) seldom.warn({ at: now }, 'away');
  seldom.warn({ at: now }, 'away');
  seldom.warn({}, 'other');
  now += 60_000;
  seldom.warn({ at: now }, 'away');
  assert.deepEqual(lines, [
    [{ at: 0 }, 'away'],
    [{ at: 60_000, leftOut: 599 }, 'away'],
    [{}, 'other'],
    [{ at: 120_000 }, 'away'],
  ]);
});
