/** Failovers under way, as Redis keeps them: written by any worker, each step once. */

import { type ShardId, shardKeys } from '../keys.ts';
import type { RedisClient } from '../redis/redis.ts';
import { runScript } from '../redis/scripts.ts';
import type { StoredAck } from './acknowledgement.ts';
import { LOG_ENTRIES } from './shard-store.ts';

/** Failovers given up that a shard keeps at most. */
export const DEAD_LETTERS = 10_000;

/** One failover as it stands. */
export type StoredFailover = {
  readonly id: string;
  /** The verdict as last delivered: see stored-verdict.ts. */
  readonly verdict: Buffer;
  /** Pursuit as JSON, undefined if nobody has looked at it yet. */
  readonly pursuit: string | undefined;
  readonly ack: StoredAck | undefined;
};

/** A failover given up. */
export type DeadLetter = {
  readonly attempts: number;
  readonly reason: string;
  readonly givenUpUnix: number;
  /** The verdict in base64: see stored-verdict.ts. */
  readonly verdict: string;
};

/** A failover that waits. */
export type FailoverWait = {
  readonly id: string;
  /** Pursuit as JSON. */
  readonly pursuit: string;
  readonly dueUnix: number;
  readonly acknowledged: boolean;
};

export class FailoverStore {
  readonly #redis: RedisClient;
  readonly #keys: ReturnType<typeof shardKeys>;

  constructor(redis: RedisClient, id: ShardId) {
    this.#redis = redis;
    this.#keys = shardKeys(id);
  }

  /** Failovers that are due, the longest overdue first. */
  async readDue(nowUnix: number, most: number): Promise<StoredFailover[]> {
    const { due, unacked, failover, pursuits, acks } = this.#keys;
    const ids = await this.#redis.zrangebyscore(due, 0, Math.floor(nowUnix), 'LIMIT', 0, most);
    if (ids.length === 0) return [];
    // In this order: an acknowledgement moves a verdict from the one to the other.
    const [waiting, acknowledged, states, answers] = await Promise.all([
      this.#redis.hmgetBuffer(unacked, ...ids),
      this.#redis.hmgetBuffer(failover, ...ids),
      this.#redis.hmget(pursuits, ...ids),
      this.#redis.hmget(acks, ...ids),
    ]);
    const orphans = ids.filter((_, n) => !waiting[n] && !acknowledged[n]);
    if (orphans.length > 0) await this.#redis.zrem(due, ...orphans);
    return ids.flatMap((id, n) => {
      const verdict = waiting[n] ?? acknowledged[n];
      if (!verdict) return [];
      const ack = answers[n];
      return {
        id,
        verdict,
        pursuit: states[n] ?? undefined,
        ack: ack ? (JSON.parse(ack) as StoredAck) : undefined,
      };
    });
  }

  /** When the next failover is due, Unix ms; undefined if there is none. */
  async nextDue(): Promise<number | undefined> {
    const [, score] = await this.#redis.zrange(this.#keys.due, '0', '0', 'WITHSCORES');
    return score === undefined ? undefined : Number(score);
  }

  /**
   * Notes where failovers stand and when to look again: those not acknowledged yet at once if their acknowledgement comes
   * meanwhile.
   */
  async wait(waits: readonly FailoverWait[]): Promise<void> {
    if (waits.length === 0) return;
    const { pursuits, due, acks } = this.#keys;
    await this.#redis.hset(pursuits, Object.fromEntries(waits.map(({ id, pursuit }) => [id, pursuit])));
    await this.#redis.zadd(due, 'XX', ...waits.flatMap(({ id, dueUnix }) => [dueUnix, id]));
    const unacknowledged = waits.filter(({ acknowledged }) => !acknowledged).map(({ id }) => id);
    if (unacknowledged.length === 0) return;
    const found = await this.#redis.hmget(acks, ...unacknowledged);
    const overtaken = unacknowledged.filter((_, n) => found[n] !== null);
    if (overtaken.length > 0) await this.#redis.zadd(due, 'XX', ...overtaken.flatMap((id) => [0, id]));
  }

  /** Begins another attempt. False if somebody else did, or it has ended. */
  async advance(
    id: string,
    present: number,
    next: { attempt: number; verdict: Uint8Array; pursuit: string; dueUnix: number },
  ): Promise<boolean> {
    const { failover, attempts, acks, unacked, verdicts, pursuits, due } = this.#keys;
    const reply = await runScript(
      this.#redis,
      'advance-failovers',
      [failover, attempts, acks, unacked, verdicts, pursuits, due],
      [id, present, next.attempt, Buffer.from(next.verdict), next.pursuit, LOG_ENTRIES, next.dueUnix],
    );
    return reply === 1;
  }

  /** Ends a failover. False if its letter found no room. */
  async end(id: string, letter?: DeadLetter): Promise<boolean> {
    const { failover, attempts, acks, pursuits, due, deadLetters } = this.#keys;
    const reply = await runScript(
      this.#redis,
      'end-failover',
      [failover, attempts, acks, pursuits, due, deadLetters],
      [id, letter ? JSON.stringify(letter) : '', DEAD_LETTERS],
    );
    return reply === 1;
  }

  /** Failovers given up, by verdict id. */
  async deadLetters(): Promise<Map<string, DeadLetter>> {
    const letters = await this.#redis.hgetall(this.#keys.deadLetters);
    return new Map(Object.entries(letters).map(([id, letter]) => [id, JSON.parse(letter) as DeadLetter]));
  }

  /** Takes a failover up again. False if it is not among those given up. */
  async replay(id: string, attempt: number, verdict: Uint8Array): Promise<boolean> {
    const { deadLetters, attempts, unacked, verdicts, due } = this.#keys;
    const reply = await runScript(
      this.#redis,
      'replay-failover',
      [deadLetters, attempts, unacked, verdicts, due],
      [id, attempt, Buffer.from(verdict), LOG_ENTRIES],
    );
    return reply === 1;
  }

  /** Forgets a failover that was given up. */
  async drop(id: string): Promise<boolean> {
    return (await this.#redis.hdel(this.#keys.deadLetters, id)) === 1;
  }

  /** Asks the shard's owner for life of an SA of its. */
  async ask(spi: string): Promise<void> {
    await this.#redis.hsetnx(this.#keys.asked, spi, '');
  }

  /** What the owner said of an SA, '' if nothing yet. */
  async answer(spi: string): Promise<string> {
    return (await this.#redis.hget(this.#keys.asked, spi)) ?? '';
  }

  /** The answer is not needed any more. */
  async forget(spi: string): Promise<void> {
    await this.#redis.hdel(this.#keys.asked, spi);
  }
}
