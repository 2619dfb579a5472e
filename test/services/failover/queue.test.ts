import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Redis } from 'ioredis';
import { createLogger } from '../../../services/base/log.ts';
import { FailoverQueue, FailoverWorker } from '../../../services/failover/queue.ts';
import type { FailoverReconciler } from '../../../services/failover/reconciler.ts';
import { eventually } from '../../eventually.ts';
import { privateRedis } from '../../private-redis.ts';

const SHARD = { headend: 'hub', shard: 3 };

test('a shard has one job, which waits as long as it is told, or until one of its failovers is due', async (t) => {
  const redis = (await privateRedis(t)) as Redis;
  const url = `unix:${redis.options.path}`;
  const runs: string[] = [];
  let again: number | undefined = 60_000;
  const run = async ({ headend, shard }: typeof SHARD) => {
    runs.push(`${headend}/${shard}`);
    return again;
  };
  const outages = createLogger('test', 'silent');
  const worker = new FailoverWorker(url, { run } as unknown as FailoverReconciler, outages);
  const queue = new FailoverQueue(url, outages);
  const jobs = async () => (await redis.keys('{dpd-queue}:failover:hub/3')).length;
  const waits = async () => (await redis.zcard('{dpd-queue}:failover:delayed')) === 1;

  try {
    void queue.wake(SHARD);
    void queue.wake(SHARD);
    await eventually('it waits', 5_000, waits);
    assert.deepEqual(runs, ['hub/3']);
    again = undefined;
    void queue.hurry(SHARD);
    await eventually('it is done', 5_000, async () => (await jobs()) === 0);
    assert.deepEqual(runs, ['hub/3', 'hub/3']);
  } finally {
    // Both wait for ever for a Redis that is gone.
    await worker.close();
    await queue.close();
  }
});
