import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runTarget, TARGETS } from './run.ts';

/** For each of them, ms: ten seconds together. */
const EACH_MS = 10_000 / Object.keys(TARGETS).length;

for (const target of Object.keys(TARGETS))
  test(`no input does what none may: ${target}`, () => {
    const { inputs, taken, failures } = runTarget(target, Math.floor(Math.random() * 2 ** 31), { ms: EACH_MS });
    assert.deepEqual(failures, []);
    assert(taken > 0, `none of ${inputs} inputs got past the first look`);
  });
