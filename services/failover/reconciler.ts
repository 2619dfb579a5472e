/**
 * Handles failovers whose endpoint did not come up, or that are not acknowledged: they get another endpoint, or go to an operator.
 * Failovers that succeed end with their acknowledgement, and never come here. Works on one shard at a time, many failovers in one
 * step; each step is one atomic write that happens once, so that this code may die, or run twice, at any point.
 */

import { Action, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { RecordError } from '../../workers/base/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Bus } from '../store/cluster/bus.ts';
import { knownDead } from '../store/cluster/dead-endpoints.ts';
import { type ShardId, shardKeys } from '../store/keys.ts';
import type { OnRefused } from '../store/record.ts';
import type { RecordMac } from '../store/record-mac.ts';
import type { RedisClient } from '../store/redis/redis.ts';
import {
  FailoverStore,
  type NextAttempt,
  type StandingFailover,
  type StoredFailover,
} from '../store/shard/failover-store.ts';
import { readVerdict, writeVerdict } from '../store/shard/stored-verdict.ts';
import { begin, type FailoverLimits, type FailoverProgress, plan, readProgress } from './plan.ts';

/** Failovers looked at in one step. */
const BATCH = 200;
/** Longest run before others get their turn, ms. */
const RUN_MS = 5_000;
/**
 * How often a shard with failovers is looked at, ms. An acknowledgement makes a failover due, but its message may be lost, or may come
 * during a run.
 */
const LOOK_MS = { idle: 5_000, busy: 1_000 };

export type ReconcilerContext = {
  readonly redis: RedisClient;
  readonly mac: RecordMac;
  /** Told of failovers that are set aside, because what Redis has of them cannot be read. */
  readonly refused: OnRefused;
  readonly bus: Pick<Bus, 'publish'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: FailoverLimits;
};

/** A failover that is due, read. */
type Due = StandingFailover & { readonly verdict: Verdict; readonly progress: FailoverProgress };
type Ended = { readonly due: Due; readonly reason: string };

export class FailoverReconciler {
  readonly #context: ReconcilerContext;
  readonly counters = { advanced: 0, givenUp: 0 };

  constructor(context: ReconcilerContext) {
    this.#context = context;
  }

  /**
   * Does what is due in a shard. Returns the time until the next run, ms, or undefined if nothing is left. Times are
   * Redis's: those of nodes may differ, and jump.
   */
  async run(id: ShardId): Promise<number | undefined> {
    const { clock } = this.#context;
    const store = new FailoverStore(this.#context, id);
    const began = clock.now();
    let lookMs = LOOK_MS.idle;
    while (clock.now() - began < RUN_MS) {
      const { nowUnix, nextUnix, due } = await store.readDue(BATCH);
      if (due.length === 0)
        return nextUnix === undefined ? undefined : Math.min(Math.max(0, nextUnix - nowUnix), lookMs);
      await this.#step(id, store, due, nowUnix);
      lookMs = LOOK_MS.busy;
    }
    return 0;
  }

  /** One step of each of these. */
  async #step(id: ShardId, store: FailoverStore, stored: readonly StoredFailover[], nowUnix: number): Promise<void> {
    const { redis, clock, limits } = this.#context;
    const failovers = await this.#read(id, store, stored, nowUnix);
    const endpoints = failovers.flatMap(({ failed, verdict }) => (failed === undefined ? [] : verdict.endpoints));
    const isDead = await knownDead(redis, endpoints, clock.wall());
    const waits: Parameters<FailoverStore['wait']>[0][number][] = [];
    const advances: NextAttempt[] = [];
    const ended: Ended[] = [];
    for (const due of failovers) {
      const { failed, verdict, progress } = due;
      const knownDead = (endpoint: number) => isDead(verdict.endpoints[endpoint]!);
      const { deadEndpoint, nextEndpoint, action } = verdict;
      const same = verdict.pinned || action === Action.RESTART || action === Action.TRAP;
      const situation = { endpoints: verdict.endpoints.length, deadEndpoint, nextEndpoint, same, failed, knownDead };
      const step = plan(progress, situation, limits, nowUnix);
      switch (step.kind) {
        case 'wait':
          waits.push({ ...due, progress: JSON.stringify(progress), dueUnix: step.dueUnix });
          break;
        case 'advance':
          advances.push(nextAttempt(due, step));
          break;
        case 'giveUp':
          ended.push({ due, reason: step.reason });
          break;
      }
    }
    await store.wait(waits);
    await this.#advance(id, store, advances);
    await this.#giveUp(id, store, ended, nowUnix);
  }

  /** Returns the failovers that can be read, and drops the others, which would block all failovers behind them. */
  async #read(id: ShardId, store: FailoverStore, stored: readonly StoredFailover[], nowUnix: number): Promise<Due[]> {
    const unreadable: string[] = [];
    const failovers = stored.flatMap((failover) => {
      try {
        return [read(failover, nowUnix)];
      } catch (error) {
        const why = `failover ${JSON.stringify(failover.id.slice(0, 80))} is set aside: ${(error as Error).message}`;
        this.#context.refused(new RecordError(shardKeys(id).due, why));
        unreadable.push(failover.id);
        return [];
      }
    });
    await store.setAside(unreadable);
    return failovers;
  }

  async #advance(id: ShardId, store: FailoverStore, attempts: readonly NextAttempt[]): Promise<void> {
    const { log, bus } = this.#context;
    const advanced = await store.advance(attempts);
    for (const { id: verdict, next, endpoint } of attempts.filter((_, n) => advanced[n]))
      log.info({ ...id, verdict, attempt: next, endpoint }, 'next endpoint');
    const count = advanced.filter(Boolean).length;
    this.counters.advanced += count;
    if (count > 0) bus.publish({ type: 'look', ...id });
  }

  async #giveUp(id: ShardId, store: FailoverStore, ended: readonly Ended[], givenUpUnix: number): Promise<void> {
    const { log } = this.#context;
    const results = await store.giveUp(
      ended.map(({ due, reason }) => ({
        ...due,
        letter: {
          attempts: due.progress.attempt + 1,
          reason,
          givenUpUnix,
          verdict: writeVerdict(due.verdict).toString('base64'),
        },
      })),
    );
    for (const [n, { due, reason }] of ended.entries()) {
      if (results[n] === 'changed') continue;
      this.counters.givenUp++;
      const facts = { ...id, verdict: due.id, reason };
      log.error(facts, 'failover given up');
      if (results[n] === 'noRoom')
        log.error(facts, 'no room for another failover given up: this one is only told here');
    }
  }
}

/** Throws if the verdict, or the progress of its failover, cannot be read. */
function read({ id, verdict: message, progress, failed }: StoredFailover, nowUnix: number): Due {
  if (!message) throw new RangeError('no node wrote its verdict');
  const verdict = readVerdict(message);
  const { deadEndpoint, nextEndpoint, endpoints } = verdict;
  if (Math.max(deadEndpoint, nextEndpoint) >= endpoints.length) throw new RangeError('no such endpoint');
  const began = { ...begin(nowUnix, verdict.nextEndpoint), attempt: verdict.attempt };
  const known = progress === undefined ? began : readProgress(progress);
  return { id, attempt: known.attempt, failed, verdict, progress: known };
}

function nextAttempt(
  { id, attempt, failed, verdict }: Due,
  { endpoint, progress, dueUnix }: Extract<ReturnType<typeof plan>, { kind: 'advance' }>,
): NextAttempt {
  const next = progress.attempt;
  const message = writeVerdict({ ...verdict, attempt: next, nextEndpoint: endpoint });
  return { id, attempt, failed, next, endpoint, verdict: message, progress: JSON.stringify(progress), dueUnix };
}
