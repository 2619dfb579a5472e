/**
 * The durable queue of failovers, on BullMQ: one job a shard that has any, so that a mass failure is a batch and not a
 * storm of jobs. Whoever works on a job holds its lock; if he dies it stalls, and another takes it up.
 */

import { DelayedError, type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Logger } from '../base/log.ts';
import type { ShardId } from '../store/keys.ts';
import { patientRedis, type RedisClient } from '../store/redis/redis.ts';
import type { Pursuer } from './reconciler.ts';

const NAME = 'failover';
/** Braces, so that all of the queue lies in one slot of Redis Cluster. */
const PREFIX = '{dpd-queue}';
/** A worker's lock; renewed while it lives. */
const LOCK_MS = 10_000;
const STALLED_MS = 5_000;
/** Shards worked on at the same time. */
const CONCURRENCY = 8;
/** A run that fails, for want of Redis mostly, is tried again for ever. */
const BACKOFF = { type: 'exponential', delay: 500 } as const;
const ATTEMPTS = 1_000_000;

type JobData = ShardId & { readonly shards: number };

export class FailoverQueue {
  readonly #queue: Queue<JobData>;
  readonly #redis: RedisClient;
  readonly #waking = new Set<string>();

  constructor(url: string) {
    this.#redis = patientRedis(url);
    const redis = this.#redis;
    this.#queue = new Queue<JobData>(NAME, { connection: redis as never, prefix: PREFIX });
    // Commands carry the error as well.
    this.#queue.on('error', () => {});
  }

  /** There are failovers in this shard. Any number of calls make one job. Resolves when Redis has it. */
  async wake(id: ShardId, shards: number): Promise<void> {
    const key = `${id.headend}/${id.shard}`;
    // While Redis is away one call a shard waits for it.
    if (this.#waking.has(key)) return;
    this.#waking.add(key);
    try {
      await this.#add(key, { ...id, shards });
    } finally {
      this.#waking.delete(key);
    }
  }

  async #add(jobId: string, data: JobData): Promise<void> {
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
  readonly #worker: Worker<JobData>;
  readonly #redis: RedisClient;

  /** Begins to work, now or when Redis can be reached. */
  constructor(url: string, pursuer: Pursuer, log: Logger) {
    this.#redis = patientRedis(url);
    const redis = this.#redis;
    this.#worker = new Worker<JobData>(NAME, (job, token) => work(pursuer, job, token), {
      connection: redis as never,
      prefix: PREFIX,
      concurrency: CONCURRENCY,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_MS,
      maxStalledCount: Number.MAX_SAFE_INTEGER,
    });
    this.#worker.on('error', () => {});
    this.#worker.on('failed', (job, error) =>
      log.warn({ shard: job?.id, reason: error.message }, 'failovers wait for another try'),
    );
  }

  async close(): Promise<void> {
    await this.#worker.close().catch(() => {});
    this.#redis.disconnect();
  }
}

async function work(pursuer: Pursuer, job: Job<JobData>, token: string | undefined): Promise<void> {
  const { headend, shard, shards } = job.data;
  if (token === undefined) throw new UnrecoverableError('a job without a lock');
  const again = await pursuer.run({ headend, shard }, shards);
  if (again === undefined) return;
  await job.moveToDelayed(Date.now() + again, token);
  throw new DelayedError();
}
