/**
 * Sees failovers through: delivered, acknowledged, the next endpoint up, and alive by evidence; else the endpoint after
 * it. Works on one shard at a time. Every step is one atomic write that happens once, so that this code may die, or run
 * twice, at any point.
 */

import type { Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { shardOf, spiFromHex } from '../api/spi.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Bus } from '../store/cluster/bus.ts';
import { knownDead } from '../store/cluster/dead-endpoints.ts';
import type { ShardId } from '../store/keys.ts';
import type { RedisClient } from '../store/redis/redis.ts';
import { redisNow } from '../store/redis/redis.ts';
import { FailoverStore, type FailoverWait, type StoredFailover } from '../store/shard/failover-store.ts';
import { readVerdict, writeVerdict } from '../store/shard/stored-verdict.ts';
import { begin, type FailoverLimits, LOOK_MS, type Pursuit, plan, type SuccessorState } from './plan.ts';

/** Failovers looked at in one step. */
const BATCH = 200;
/** Longest run before others get their turn, ms. */
const RUN_MS = 5_000;
/** SAs of policies without numbers are given this to show life, ms. */
const DETECTION_MS = 60_000;

export type PursuerContext = {
  readonly redis: RedisClient;
  readonly bus: Pick<Bus, 'say'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: FailoverLimits;
};

/** The shard whose failovers are looked at, and what is known of endpoints meanwhile. */
type PursuedShard = {
  readonly id: ShardId;
  readonly shards: number;
  readonly store: FailoverStore;
  readonly isDead: Awaited<ReturnType<typeof knownDead>>;
};

/** What came of a step: whether the shard's owner has something to deliver, and what waits. */
type Came = { readonly deliver: boolean; readonly wait?: FailoverWait };

export class Pursuer {
  readonly #context: PursuerContext;
  readonly counters = { done: 0, advanced: 0, givenUp: 0 };

  constructor(context: PursuerContext) {
    this.#context = context;
  }

  /**
   * Does what is due in a shard. Returns after how long to come again, ms, or undefined if nothing is left. Times are
   * Redis's: those of nodes may differ, and jump.
   * @param shards number of shards of the headend
   */
  async run(id: ShardId, shards: number): Promise<number | undefined> {
    const { clock, redis } = this.#context;
    const store = new FailoverStore(redis, id);
    const began = clock.now();
    const beganUnix = await redisNow(redis);
    const now = () => Math.round(beganUnix + clock.now() - began);
    while (clock.now() - began < RUN_MS) {
      const due = await store.readDue(now(), BATCH);
      if (due.length === 0) {
        const next = await store.nextDue();
        return next === undefined ? undefined : Math.min(Math.max(0, next - now()), LOOK_MS);
      }
      const verdicts = due.map(({ verdict }) => readVerdict(verdict));
      const isDead = await knownDead(
        redis,
        verdicts.flatMap(({ endpoints }) => endpoints),
        clock.wall(),
      );
      const shard = { id, shards, store, isDead };
      let deliver = false;
      const waits: FailoverWait[] = [];
      for (const [n, failover] of due.entries()) {
        const came = await this.#step(shard, failover, verdicts[n]!, now());
        deliver ||= came.deliver;
        if (came.wait) waits.push(came.wait);
      }
      await store.wait(waits);
      if (deliver) this.#context.bus.say({ word: 'look', ...id });
    }
    return 0;
  }

  async #step(
    { id, shards, store, isDead }: PursuedShard,
    { id: verdictId, pursuit: stored, ack }: StoredFailover,
    verdict: Verdict,
    now: number,
  ): Promise<Came> {
    const { log, limits } = this.#context;
    const pursuit = stored
      ? (JSON.parse(stored) as Pursuit)
      : { ...begin(now, verdict.nextEndpoint), attempt: verdict.attempt };
    const successor = ack?.successor ? spiFromHex(ack.successor) : undefined;
    const successorShard = successor && { headend: id.headend, shard: shardOf(successor.responderSpi, shards) };
    const step = plan(
      pursuit,
      {
        endpoints: verdict.endpoints.length,
        deadEndpoint: verdict.deadEndpoint,
        nextEndpoint: verdict.nextEndpoint,
        detectionMs: detectionMs(verdict),
        acknowledged: ack,
        successor: successorShard ? await this.#lifeOf(successorShard, ack!.successor) : 'UNKNOWN',
        knownDead: (endpoint) => isDead(verdict.endpoints[endpoint]!),
      },
      limits,
      now,
    );
    const settle = async (letter?: Parameters<FailoverStore['end']>[1]) => {
      if (successorShard) await new FailoverStore(this.#context.redis, successorShard).forget(ack!.successor);
      if (!(await store.end(verdictId, letter)))
        log.error({ ...id, verdict: verdictId }, 'no room for another failover given up: this one is only told here');
    };
    switch (step.kind) {
      case 'wait':
        return {
          deliver: step.deliver,
          wait: {
            id: verdictId,
            pursuit: JSON.stringify(pursuit),
            dueUnix: step.dueUnix,
            acknowledged: ack !== undefined,
          },
        };
      case 'done':
        await settle();
        this.counters.done++;
        return { deliver: false };
      case 'advance': {
        const next = { ...verdict, attempt: step.pursuit.attempt, nextEndpoint: step.endpoint };
        const advanced = await store.advance(verdictId, pursuit.attempt, {
          attempt: step.pursuit.attempt,
          verdict: writeVerdict(next),
          pursuit: JSON.stringify(step.pursuit),
          dueUnix: now + LOOK_MS,
        });
        if (!advanced) return { deliver: false };
        this.counters.advanced++;
        log.info({ ...id, verdict: verdictId, attempt: next.attempt, endpoint: step.endpoint }, 'next endpoint');
        return { deliver: true };
      }
      case 'giveUp':
        await settle({
          attempts: pursuit.attempt + 1,
          reason: step.reason,
          givenUpUnix: now,
          verdict: writeVerdict(verdict).toString('base64'),
        });
        this.counters.givenUp++;
        log.error({ ...id, verdict: verdictId, reason: step.reason }, 'failover given up');
        return { deliver: false };
    }
  }

  /** Asks the successor's owner, through Redis, whether it has shown life. */
  async #lifeOf(id: ShardId, spi: string): Promise<SuccessorState> {
    const store = new FailoverStore(this.#context.redis, id);
    const answer = await store.answer(spi);
    if (answer === 'ALIVE' || answer === 'DEAD') return answer;
    await store.ask(spi);
    this.#context.bus.say({ word: 'look', ...id });
    return answer === 'HELD' ? 'HELD' : 'UNKNOWN';
  }
}

/** How long the policy of the dead SA takes to find a peer dead: its successor has the same. */
function detectionMs({ history }: Verdict): number {
  if (!history) return DETECTION_MS;
  return Math.max(0, Number(history.earliestUnixMs - history.lastEvidenceUnixMs)) || DETECTION_MS;
}
