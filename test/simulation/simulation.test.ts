import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from './simulate.ts';

test('the same seed, the same run', async () => {
  const [first, second] = await Promise.all([simulate('--seed', '7'), simulate('--seed', '7')]);
  assert.equal(first.summary['steps'], second.summary['steps']);
  assert.equal(first.summary['verdicts'], second.summary['verdicts']);
  assert(first.summary['steps']! > 10_000 && first.summary['probes']! > 100, JSON.stringify(first.summary));
});

test('a fixed set of seeds, many of which found something once', async () => {
  const { summary, errors } = await simulate('--seeds', '1:16');
  assert.equal(summary['violations'], 0, errors);
  assert.equal(summary['seeds'], 16);
});
