/**
 * The durable queue of failovers, on BullMQ: one job a shard that has any, so that a mass failure is a batch and not a
 * storm of jobs. The worker of a job holds its lock; if the worker dies, the job stalls, and another worker takes it.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { DelayedError, type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import { always } from '../../workers/base/always.ts';
import type { Outages } from '../base/seldom.ts';
import type { ShardId } from '../store/keys.ts';
import { patientRedis, type RedisClient } from '../store/redis/redis.ts';
import type { FailoverReconciler } from './reconciler.ts';

const NAME = 'failover';
/** Braces, so that all of the queue lies in one slot of Redis Cluster. */
const PREFIX = '{dpd-queue}';
/** A worker's lock; renewed while it lives. */
const LOCK_MS = 10_000;
const STALLED_MS = 5_000;
always(STALLED_MS < LOCK_MS, 'a stalled job is noticed within its lock');
/** Shortest time between two wake-ups of a shard, ms: after a verdict it is first looked at later than this anyway. */
const WAKE_MS = 4_000;
/** Shortest time between two urgent wake-ups, ms. */
const HURRY_MS = 1_000;
/** Shards worked on at the same time. */
const CONCURRENCY = 8;
/** A run that fails, mostly because Redis is away, is tried again for ever. */
const BACKOFF = { type: 'exponential', delay: 500 } as const;
const ATTEMPTS = 1_000_000;

export class FailoverQueue {
  readonly #queue: Queue<ShardId>;
  readonly #redis: RedisClient;
  /** Recent calls: shards to be woken, and shards to be worked on now. */
  readonly #lately = new Set<string>();

  /** @param outages told of errors of the queue */
  constructor(url: string, outages: Outages) {
    this.#redis = patientRedis(url);
    const redis = this.#redis;
    this.#queue = new Queue<ShardId>(NAME, { connection: redis as never, prefix: PREFIX });
    this.#queue.on('error', (error) => outages.warn({ reason: error.message }, 'the queue of failovers has an error'));
  }

  /** There are failovers in this shard. Any number of calls make one job, which exists as long as the shard has failovers. */
  wake(id: ShardId): Promise<void> {
    const jobId = jobOf(id);
    return this.#once(WAKE_MS, jobId, () => this.#add(jobId, id));
  }

  /** One of them is due now: the shard's job does not wait any longer. */
  hurry(id: ShardId): Promise<void> {
    const jobId = jobOf(id);
    return this.#once(HURRY_MS, `${jobId} now`, async () => {
      await this.#add(jobId, id);
      const job = await this.#queue.getJob(jobId);
      // A job that does not wait is being worked on, and runs again soon by itself.
      await job?.promote().catch(() => {});
    });
  }

  /** Makes a call at most once in this time, ms. While Redis is away one call of each kind waits. */
  async #once(perMs: number, what: string, call: () => Promise<void>): Promise<void> {
    if (this.#lately.has(what)) return;
    this.#lately.add(what);
    try {
      await call();
      await sleep(perMs, undefined, { ref: false });
    } finally {
      this.#lately.delete(what);
    }
  }

  async #add(jobId: string, data: ShardId): Promise<void> {
    await this.#queue.add('shard', data, {
      jobId,
      attempts: ATTEMPTS,
      backoff: BACKOFF,
      removeOnComplete: true,
      removeOnFail: true,
    });
  }

  async close(): Promise<void> {
    await this.#queue.close().catch(() => {});
    this.#redis.disconnect();
  }
}

export class FailoverWorker {
  readonly #worker: Worker<ShardId>;
  readonly #redis: RedisClient;

  /** Begins to work, now or when Redis can be reached. */
  constructor(url: string, reconciler: FailoverReconciler, outages: Outages) {
    this.#redis = patientRedis(url);
    const redis = this.#redis;
    this.#worker = new Worker<ShardId>(NAME, (job, token) => work(reconciler, job, token), {
      connection: redis as never,
      prefix: PREFIX,
      concurrency: CONCURRENCY,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_MS,
      maxStalledCount: Number.MAX_SAFE_INTEGER,
    });
    this.#worker.on('error', (error) =>
      outages.warn({ reason: error.message }, 'the worker of failovers has an error'),
    );
    this.#worker.on('failed', (job, error) =>
      outages.warn({ shard: job?.id, reason: error.message }, 'failovers wait for another try'),
    );
  }

  async close(): Promise<void> {
    await this.#worker.close().catch(() => {});
    this.#redis.disconnect();
  }
}

function jobOf({ headend, shard }: ShardId): string {
  return `${headend}/${shard}`;
}

async function work(reconciler: FailoverReconciler, job: Job<ShardId>, token: string | undefined): Promise<void> {
  const { headend, shard } = job.data;
  if (token === undefined) throw new UnrecoverableError('a job without a lock');
  const again = await reconciler.run({ headend, shard });
  if (again === undefined) return;
  await job.moveToDelayed(Date.now() + again, token);
  throw new DelayedError();
}
