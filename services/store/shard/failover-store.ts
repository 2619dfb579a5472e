/** Failovers under way, as Redis keeps them: written by any worker, each step once. */

import { RecordError } from '../../../workers/base/errors.ts';
import { type ShardId, shardKeys } from '../keys.ts';
import type { OnRefused } from '../record.ts';
import type { RecordMac } from '../record-mac.ts';
import type { RedisClient } from '../redis/redis.ts';
import { runReader, runScript } from '../redis/scripts.ts';
import { type DeadLetter, LetterSeal } from './dead-letter.ts';
import { LOG_ENTRIES } from './shard-store.ts';
import { VerdictSeal } from './stored-verdict.ts';

/** Failovers given up that a shard keeps at most. */
const DEAD_LETTERS = 10_000;

/** One failover as it was read: a step is taken only if it has not changed since. */
export type StandingFailover = {
  /** The verdict's. */
  readonly id: string;
  /** Number of the present attempt. */
  readonly attempt: number;
  /** Why that attempt failed, once it is acknowledged. */
  readonly failed: string | undefined;
};

/** One failover that is due. */
export type StoredFailover = Omit<StandingFailover, 'attempt'> & {
  /** The verdict as last delivered: see stored-verdict.ts. Undefined: no node wrote it. */
  readonly verdict: Buffer | undefined;
  /** FailoverProgress as JSON, undefined if no worker has looked at it yet. */
  readonly progress: string | undefined;
};

/** Another attempt. */
export type NextAttempt = StandingFailover & {
  readonly next: number;
  /** Index of the endpoint that it tries. */
  readonly endpoint: number;
  readonly verdict: Buffer;
  /** FailoverProgress as JSON. */
  readonly progress: string;
  readonly dueUnix: number;
};

/** What a store of failovers works with. */
export type FailoverContext = { readonly redis: RedisClient; readonly mac: RecordMac };

export class FailoverStore {
  readonly #redis: RedisClient;
  readonly #keys: ReturnType<typeof shardKeys>;
  readonly #verdicts: VerdictSeal;
  readonly #letters: LetterSeal;

  constructor({ redis, mac }: FailoverContext, id: ShardId) {
    this.#redis = redis;
    this.#keys = shardKeys(id);
    this.#verdicts = new VerdictSeal(mac, id);
    this.#letters = new LetterSeal(mac, id);
  }

  /**
   * Failovers that are due, the longest overdue first, and the time, by Redis's clock, Unix ms. If none is due, when the next one
   * will be; undefined if there is none.
   */
  async readDue(
    most: number,
  ): Promise<{ readonly nowUnix: number; readonly nextUnix: number | undefined; readonly due: StoredFailover[] }> {
    const { due, unacked, failover, failed, progress } = this.#keys;
    const reply = await runReader(this.#redis, 'due-failovers', [due, unacked, failover, failed, progress], [most]);
    const [nowUnix, next, ...fields] = reply as [number, Buffer, ...Buffer[]];
    const failovers: StoredFailover[] = [];
    for (let at = 0; at < fields.length; at += 4) {
      const [id, verdict, why, state] = fields.slice(at, at + 4) as [Buffer, Buffer, Buffer, Buffer];
      failovers.push({
        id: String(id),
        verdict: this.#verdicts.open(verdict),
        failed: why.length === 0 ? undefined : String(why),
        progress: state.length === 0 ? undefined : String(state),
      });
    }
    return { nowUnix, nextUnix: next.length === 0 ? undefined : Number(next), due: failovers };
  }

  /** Notes the progress of failovers and when to look again, unless they have changed meanwhile. */
  async wait(
    waits: readonly (StandingFailover & { readonly progress: string; readonly dueUnix: number })[],
  ): Promise<void> {
    if (waits.length === 0) return;
    const { attempts, failed, progress, due } = this.#keys;
    const args = waits.flatMap((wait) => [...standing(wait), wait.progress, wait.dueUnix]);
    await runScript(this.#redis, 'wait-failovers', [attempts, failed, progress, due], args);
  }

  /**
   * Begins other attempts. Returns for each whether it did: not if another worker has, or if the failover has ended.
   */
  async advance(steps: readonly NextAttempt[]): Promise<boolean[]> {
    if (steps.length === 0) return [];
    const { attempts, failed, progress, due, failover, unacked, verdicts } = this.#keys;
    const reply = await runScript(
      this.#redis,
      'advance-failovers',
      [attempts, failed, progress, due, failover, unacked, verdicts],
      [
        LOG_ENTRIES,
        ...steps.flatMap((step) => [
          ...standing(step),
          step.next,
          this.#verdicts.seal(step.verdict),
          step.progress,
          step.dueUnix,
        ]),
      ],
    );
    return (reply as number[]).map((one) => one === 1);
  }

  /** Gives failovers up: their letters wait for an operator, if there is room. */
  async giveUp(
    letters: readonly (StandingFailover & { readonly letter: DeadLetter })[],
  ): Promise<('kept' | 'noRoom' | 'changed')[]> {
    if (letters.length === 0) return [];
    const { attempts, failed, progress, due, failover, unacked, deadLetters } = this.#keys;
    const reply = await runScript(
      this.#redis,
      'give-up-failovers',
      [attempts, failed, progress, due, failover, unacked, deadLetters],
      [DEAD_LETTERS, ...letters.flatMap((one) => [...standing(one), this.#letters.write(one.letter)])],
    );
    return (reply as number[]).map((one) => (['changed', 'kept', 'noRoom'] as const)[one]!);
  }

  /** Failovers of these verdicts are not looked at any more: their records cannot be read. */
  async setAside(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#redis.zrem(this.#keys.due, ...ids);
  }

  /** Failovers given up, by verdict id. Reports records that no node wrote. */
  async deadLetters(refused: OnRefused): Promise<Map<string, DeadLetter>> {
    const letters = new Map<string, DeadLetter>();
    for (const [id, sealed] of Object.entries(await this.#redis.hgetallBuffer(this.#keys.deadLetters))) {
      const letter = this.#letters.read(sealed);
      if (letter) letters.set(id, letter);
      else refused(new RecordError(this.#keys.deadLetters, `no node wrote ${JSON.stringify(id.slice(0, 80))}`));
    }
    return letters;
  }

  /** Takes a failover up again. False if it is not among those given up. */
  async replay(id: string, attempt: number, verdict: Uint8Array): Promise<boolean> {
    const { deadLetters, attempts, unacked, verdicts, due } = this.#keys;
    const reply = await runScript(
      this.#redis,
      'replay-failover',
      [deadLetters, attempts, unacked, verdicts, due],
      [id, attempt, this.#verdicts.seal(verdict), LOG_ENTRIES],
    );
    return reply === 1;
  }

  /** Forgets a failover that was given up. */
  async drop(id: string): Promise<boolean> {
    return (await this.#redis.hdel(this.#keys.deadLetters, id)) === 1;
  }
}

/** The state of a failover when it was read, for scripts. */
function standing({ id, attempt, failed }: StandingFailover): [id: string, attempt: number, failed: string] {
  return [id, attempt, failed === undefined ? '' : '1'];
}
