import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from '../simulation/simulate.ts';

// A seed that fails here tells of something new.
test('fresh seeds', async () => {
  const first = Math.floor(Math.random() * 2 ** 30);
  const { summary, errors } = await simulate('--seeds', `${first}:30`);
  assert.equal(summary['violations'], 0, `npm run simulate -- --seed S --hours 1 --log info:\n${errors}`);
});
