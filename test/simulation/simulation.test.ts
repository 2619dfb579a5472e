import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from './run.ts';

/** Seeds that found something once. */
const FOUND = [1, 3, 4, 20, 21, 23, 25, 52, 154, 174, 394];
const FRESH = 8;

test('the same seed, the same run', async () => {
  const [first, second] = [await run(7, 1), await run(7, 1)];
  assert.deepEqual(first, second);
  assert(first.steps > 10_000 && first.probes > 100, JSON.stringify(first));
});

test('seeds that found something once find nothing any more', async () => {
  for (const seed of FOUND) assert.equal((await run(seed, 1)).violation, undefined, `seed ${seed}`);
});

test('fresh seeds', async () => {
  const first = Math.floor(Math.random() * 2 ** 30);
  for (let seed = first; seed < first + FRESH; seed++) {
    const { violation } = await run(seed, 1);
    assert.equal(violation, undefined, `npm run simulate -- --seed ${seed} --hours 1 --log info`);
  }
});
