/** Reading the verdict logs of a headend's shards, in order, from a position that a token carries. */

import { setTimeout as sleep } from 'node:timers/promises';
import { RecordError, VerdictsTrimmedError } from '../../../workers/base/errors.ts';
import { shardKeys } from '../keys.ts';
import type { OnRefused } from '../record.ts';
import type { RecordMac } from '../record-mac.ts';
import type { RedisClient } from '../redis/redis.ts';
import { VerdictSeal } from './stored-verdict.ts';

/** Longest wait of one read, ms. */
const BLOCK_MS = 1_000;
/** Entries of one shard read at once; each holds up to some hundred verdicts. */
const BATCH = 20;
/** How often the logs are read if one read cannot wait for all of them, ms. */
const POLL_MS = 50;
const START = '0-0';
const NOTHING = Buffer.alloc(0);
const ENTRY_ID = /^\d+-\d+$/;

/** Last entry seen of each shard's log. */
export class LogPosition {
  readonly #ids: string[];

  private constructor(ids: string[]) {
    this.#ids = ids;
  }

  static start(shards: number): LogPosition {
    return new LogPosition(new Array<string>(shards).fill(START));
  }

  /** The ends of the logs at this moment. */
  static async end(redis: RedisClient, headend: string, shards: number): Promise<LogPosition> {
    const ids = await Promise.all(
      Array.from({ length: shards }, async (_, shard) => {
        const [last] = await redis.xrevrange(shardKeys({ headend, shard }).verdicts, '+', '-', 'COUNT', 1);
        return last?.[0] ?? START;
      }),
    );
    return new LogPosition(ids);
  }

  /** The position a token stands for, or undefined if it is none for so many shards. */
  static parse(token: string, shards: number): LogPosition | undefined {
    const ids = token.split(',');
    return ids.length === shards && ids.every((id) => ENTRY_ID.test(id)) ? new LogPosition(ids) : undefined;
  }

  toString(): string {
    return this.#ids.join(',');
  }

  at(shard: number): string {
    return this.#ids[shard]!;
  }

  advance(shard: number, id: string): void {
    this.#ids[shard] = id;
  }
}

/** What reading a log takes. */
export type LogContext = {
  /** A connection of the caller's own: a read blocks it. */
  readonly redis: RedisClient;
  readonly mac: RecordMac;
  readonly refused: OnRefused;
};

/**
 * Waits up to a second for verdicts behind `position`, and moves the position past those that it returns.
 * @param refused called for entries that no node wrote, or not all of
 * @returns Verdicts messages, possibly none
 */
export async function* readVerdicts(
  { redis, mac, refused }: LogContext,
  headend: string,
  shards: number,
  position: LogPosition,
): AsyncGenerator<Buffer> {
  const keys: string[] = Array.from({ length: shards }, (_, shard) => shardKeys({ headend, shard }).verdicts);
  const ids = keys.map((_, shard) => position.at(shard));
  for (const [key, entries] of await readLogs(redis, keys, ids)) {
    const shard = keys.indexOf(String(key));
    const seal = new VerdictSeal(mac, { headend, shard });
    for (const [id, fields] of entries) {
      position.advance(shard, String(id));
      const { messages, refused: bad } = seal.openAll(fields[1] ?? NOTHING);
      if (bad > 0 || messages.length === 0)
        refused(new RecordError(String(key), `entry ${id} has ${bad} parts that no node wrote`));
      if (messages.length > 0) yield messages;
    }
  }
}

type LogEntries = [key: Buffer, entries: [id: Buffer, fields: Buffer[]][]];

/** In Redis Cluster the logs of a headend's shards are on several servers: one read cannot wait for all, so they are polled. */
async function readLogs(redis: RedisClient, keys: readonly string[], ids: readonly string[]): Promise<LogEntries[]> {
  if (!redis.isCluster) {
    const reply = await redis.xreadBuffer('COUNT', BATCH, 'BLOCK', BLOCK_MS, 'STREAMS', ...keys, ...ids);
    return (reply ?? []) as LogEntries[];
  }
  const replies = await Promise.all(keys.map((key, n) => redis.xreadBuffer('COUNT', BATCH, 'STREAMS', key, ids[n]!)));
  const entries = replies.flatMap((reply) => (reply ?? []) as LogEntries[]);
  if (entries.length === 0) await sleep(POLL_MS);
  return entries;
}

/** Throws VerdictsTrimmedError if entries behind the position are gone from the log. A start position has no past. */
export async function checkNotTrimmed(
  redis: RedisClient,
  headend: string,
  shards: number,
  position: LogPosition,
): Promise<void> {
  for (let shard = 0; shard < shards; shard++) {
    const seen = position.at(shard);
    if (seen === START) continue;
    const key = shardKeys({ headend, shard }).verdicts;
    if ((await redis.exists(key)) === 0) throw new VerdictsTrimmedError(`shard ${shard}: the log is gone`);
    const info = (await redis.xinfo('STREAM', key)) as (string | number)[];
    const deleted = String(info[info.indexOf('max-deleted-entry-id') + 1]);
    if (isLater(deleted, seen)) throw new VerdictsTrimmedError(`shard ${shard}: entries up to ${deleted} are gone`);
  }
}

function isLater(a: string, b: string): boolean {
  const [aMs, aSeq] = a.split('-').map(Number);
  const [bMs, bSeq] = b.split('-').map(Number);
  return aMs! > bMs! || (aMs === bMs && aSeq! > bSeq!);
}
