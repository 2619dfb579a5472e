import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rest } from '../../../workers/shard/rest.ts';

test('who rests wakes with the first who has to, once, unless he has cancelled', async () => {
  const woken: string[] = [];
  const began = performance.now();
  const first = new Promise<void>((resolve) => {
    rest(() => woken.push('long'), 10_000);
    const cancel = rest(() => woken.push('cancelled'), 10_000);
    rest(() => {
      woken.push('short');
      resolve();
    }, 20);
    cancel();
  });
  await first;
  assert(performance.now() - began < 5_000);
  assert.deepEqual(woken, ['long', 'short']);
  await new Promise<void>((resolve) => rest(resolve, 20));
  assert.deepEqual(woken, ['long', 'short'], 'the next rest wakes only those that rest then');
});
