/** Reading the verdict logs of a headend's shards, in order, from a position that a token carries. */

import { setTimeout as sleep } from 'node:timers/promises';
import { WireType } from '@bufbuild/protobuf/wire';
import { VerdictsSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { RecordError, VerdictsTrimmedError } from '../../../workers/base/errors.ts';
import { MessageReader } from '../../../workers/sa/message-reader.ts';
import { shardKeys } from '../keys.ts';
import type { OnRefused } from '../record.ts';
import type { RedisClient } from '../redis/redis.ts';

/** Longest wait of one read, ms. */
const BLOCK_MS = 1_000;
/** Entries of one shard read at once; each holds up to some hundred verdicts. */
const BATCH = 20;
/** How often the logs are read if one read cannot wait for all of them, ms. */
const POLL_MS = 50;
const START = '0-0';
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

/**
 * Waits up to a second for verdicts behind `position`, and moves the position past those that it returns.
 * @param redis a connection of the caller's own: the read blocks it
 * @param refused called for entries that are not ours
 * @returns Verdicts messages, possibly none
 */
export async function* readVerdicts(
  redis: RedisClient,
  headend: string,
  shards: number,
  position: LogPosition,
  refused: OnRefused,
): AsyncGenerator<Buffer> {
  const keys: string[] = Array.from({ length: shards }, (_, shard) => shardKeys({ headend, shard }).verdicts);
  const ids = keys.map((_, shard) => position.at(shard));
  for (const [key, entries] of await readLogs(redis, keys, ids)) {
    const shard = keys.indexOf(String(key));
    for (const [id, fields] of entries) {
      position.advance(shard, String(id));
      const message = fields[1];
      if (message && isVerdicts(message)) yield message;
      else refused(new RecordError(String(key), `entry ${id} holds no verdicts`));
    }
  }
}

/** Whether a message consists only of parts that may be verdicts. It becomes part of another message, whose reader must find its end. */
function isVerdicts(message: Buffer): boolean {
  const reader = new MessageReader(message);
  try {
    while (reader.pos < reader.len) {
      if (reader.uint32() !== VERDICTS) return false;
      reader.pos = reader.partEnd();
    }
    return reader.len > 0;
  } catch {
    return false;
  }
}
const VERDICTS = (VerdictsSchema.field.verdicts.number << 3) | WireType.LengthDelimited;

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
