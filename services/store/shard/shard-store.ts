/** One shard's state in Redis, written under one epoch of its lease. */

import { LostWritesError, RecordError } from '../../../workers/base/errors.ts';
import type { ShardPath } from '../../../workers/path/ways.ts';
import { packRecord, type SaRecords, saRecords } from '../../../workers/sa/sa-page.ts';
import type { CheckpointChunk, FormerOwners, Translated } from '../../../workers/takeover/checkpoint.ts';
import { type ShardId, shardKeys } from '../keys.ts';
import type { OnRefused } from '../record.ts';
import { MAC_LENGTH, type RecordMac } from '../record-mac.ts';
import { type RedisClient, redisNow } from '../redis/redis.ts';
import { confirmWrite, type FencedScript, runFenced, runReader } from '../redis/scripts.ts';
import { LetterSeal } from './dead-letter.ts';
import { readFormer } from './former-owners.ts';
import { LEASE_MS, type TakenLease, takeLease } from './lease.ts';
import { HISTORY, type NotedEvent, packEvents } from './peer-history.ts';
import { readStoredPath } from './stored-path.ts';
import { VerdictSeal } from './stored-verdict.ts';

/** Entries kept in a shard's log, roughly. Each holds the verdicts of one write. */
export const LOG_ENTRIES = 10_000;
/** SAs read from Redis, or removed there, at a time. */
const PAGE = 500;

/** SAs as stored. */
export type StoredPage = {
  /** SPI pairs in hex, in ASCII, 32 bytes each. */
  readonly spis: Buffer;
  /** Their keys sealed. */
  readonly records: SaRecords;
};

/** An attempt of a verdict as it is delivered. */
export type StoredVerdict = {
  /** Names verdict and attempt. */
  readonly name: string;
  /** See stored-verdict.ts. */
  readonly bytes: Uint8Array;
};

/** Where {@link ShardStore.authenticateAnew} goes on. */
export type MacCursor = { readonly hash: number; readonly cursor: string };

type Replacement = { readonly field: string; readonly from: Buffer; readonly to: Buffer };

/** What a shard's store works with. */
export type StoreContext = {
  readonly redis: RedisClient;
  /** Name of the node that holds the lease. */
  readonly node: string;
  readonly refused: OnRefused;
  readonly mac: RecordMac;
  /** How many replicas must have a verdict before it counts as written, and a connection to wait for them. */
  readonly replicated: { readonly redis: RedisClient; readonly replicas: number } | undefined;
};

export class ShardStore {
  /** When this owner took it, by Redis's clock, Unix ms. */
  readonly takenUnix: number;
  readonly #context: StoreContext;
  readonly #id: ShardId;
  readonly #keys: ReturnType<typeof shardKeys>;
  readonly #verdicts: VerdictSeal;
  #epoch: number;
  /** Writes are numbered, so that a write which Redis forgets is noticed. */
  #writes = 0;
  #acknowledged = 0;
  #underWay = new Set<number>();
  /** The required number of replicas has the writes of former owners. */
  #inheritanceSafe = false;

  private constructor(context: StoreContext, id: ShardId, { epoch, takenUnix }: TakenLease) {
    this.#context = context;
    this.#id = id;
    this.#keys = shardKeys(id);
    this.#verdicts = new VerdictSeal(context.mac, id);
    this.#epoch = epoch;
    this.takenUnix = takenUnix;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Takes the shard's lease with a new epoch, which fences off every former owner. */
  static async take(context: StoreContext, id: ShardId): Promise<ShardStore> {
    return new ShardStore(context, id, await takeLease(context, id, undefined));
  }

  /**
   * Takes the lease anew, if Redis knows of no other owner. Throws FencedError, or the error of the connection. Also
   * returns `lost`: Redis does not have all writes of the former epoch, and no later check will notice that.
   */
  async retake(): Promise<TakenLease & { readonly lost: boolean }> {
    const taken = await takeLease(this.#context, this.#id, this.#epoch);
    const lost = taken.lastWrite < this.#lastWrite;
    this.#epoch = taken.epoch;
    this.#writes = 0;
    this.#acknowledged = 0;
    this.#underWay = new Set();
    this.#inheritanceSafe = false;
    return { ...taken, lost };
  }

  /**
   * Prolongs the lease. Returns Redis's time, Unix ms. Throws LostWritesError, once, when it is prolonged nevertheless; or what
   * {@link runFenced} throws.
   */
  async renew(): Promise<number> {
    const expected = this.#acknowledged;
    const reply = await runFenced(this.#context.redis, 'renew-lease', [this.#keys.lease], [this.#epoch, '', LEASE_MS]);
    const [known, nowUnix] = reply as [number, number];
    if (known >= expected) return nowUnix;
    // From here on Redis's number counts, so that the repair is not refused as well.
    this.#acknowledged = known;
    throw new LostWritesError(`write ${known} is the last of ${expected} that Redis knows`);
  }

  /** Ends the lease, so that others see at once that the shard has no owner. */
  async release(): Promise<void> {
    await runFenced(this.#context.redis, 'renew-lease', [this.#keys.lease], [this.#epoch, '', 0]);
  }

  /** Writes and removes SAs in one step, keys sealed; on return they are in Redis. */
  async writeSas(
    written: readonly { spi: string; sa: Uint8Array; keys: Uint8Array | undefined }[],
    removed: readonly string[],
  ): Promise<void> {
    const { lease, sas, dead, translated } = this.#keys;
    const withKeys: (string | Buffer)[] = [];
    const without: (string | Buffer)[] = [];
    for (const { spi, sa, keys } of written) {
      (keys ? withKeys : without).push(spi, packRecord(sa, keys));
    }
    const counts = [withKeys.length / 2, without.length / 2];
    await this.#write('write-sas', [lease, sas, dead, translated], [...counts, ...withKeys, ...without, ...removed]);
  }

  /** Removes any number of SAs; on an error a part may be done. */
  async removeSas(spis: readonly string[]): Promise<void> {
    for (let n = 0; n < spis.length; n += PAGE) await this.writeSas([], spis.slice(n, n + PAGE));
  }

  /** Puts SAs' records in place of those that were read, where these still stand. */
  async reseal(
    changes: readonly { readonly spi: string; readonly from: Buffer; readonly to: Buffer }[],
  ): Promise<void> {
    await this.#replace(
      this.#keys.sas,
      changes.map(({ spi: field, from, to }) => ({ field, from, to })),
    );
  }

  /**
   * Gives verdicts, and failovers that were given up, a MAC with the first key, where they have one with another: a page of them.
   * Returns how many, and where to go on, undefined at the end.
   */
  async authenticateAnew(
    from: MacCursor = { hash: 0, cursor: '0' },
  ): Promise<{ count: number; next: MacCursor | undefined }> {
    const { unacked, failover, deadLetters } = this.#keys;
    const hashes = [
      { key: unacked, seal: this.#verdicts },
      { key: failover, seal: this.#verdicts },
      { key: deadLetters, seal: new LetterSeal(this.#context.mac, this.#id) },
    ];
    const { key, seal } = hashes[from.hash]!;
    const [cursor, fields] = await this.#context.redis.hscanBuffer(key, from.cursor, 'COUNT', PAGE);
    const changes: Replacement[] = [];
    for (let n = 0; n < fields.length; n += 2) {
      const record = fields[n + 1]!;
      if (seal.madeWith(record) !== 'another key') continue;
      changes.push({ field: String(fields[n]), from: record, to: seal.seal(seal.open(record)!) });
    }
    if (changes.length > 0) await this.#replace(key, changes);
    const next = { hash: String(cursor) === '0' ? from.hash + 1 : from.hash, cursor: String(cursor) };
    return { count: changes.length, next: next.hash < hashes.length ? next : undefined };
  }

  /** Puts records of a hash in place of those that were read, where these still stand. */
  async #replace(hash: string, changes: readonly Replacement[]): Promise<void> {
    const args = changes.flatMap(({ field, from, to }) => [field, from, to]);
    await this.#write('replace-records', [this.#keys.lease, hash], args);
  }

  /** Every SA of the shard, page by page; one may come twice. */
  async *readSas(): AsyncGenerator<StoredPage> {
    const { redis } = this.#context;
    let cursor = '0';
    do {
      const reply = await runReader(redis, 'read-sas', [this.#keys.sas], [cursor, PAGE]);
      const [next, spis, ends, bytes, others] = reply as [Buffer, Buffer, Buffer, Buffer<ArrayBuffer>, Buffer[]];
      for (const name of others)
        this.#context.refused(new RecordError(this.#keys.sas, `${nameOf(name)} is no SPI pair`));
      cursor = String(next);
      if (spis.length > 0) yield { spis, records: saRecords(ends, bytes) };
    } while (cursor !== '0');
  }

  /** SPI pairs of every SA. */
  readSpis(): Promise<string[]> {
    return this.#context.redis.hkeys(this.#keys.sas);
  }

  /** SPI pairs whose verdict is in the log. */
  async readDead(): Promise<Set<string>> {
    return new Set(await this.#context.redis.hkeys(this.#keys.dead));
  }

  /**
   * Writes chunks of the checkpoint.
   * @param taken up to when it is complete, by the owner's clock, and by Redis's at the earliest, Unix ms
   * @param whole they are complete; otherwise they are added to chunks written before, also by former owners
   */
  async writeCheckpoint(
    chunks: readonly CheckpointChunk[],
    taken: { readonly unix: number; readonly redisUnix: number },
    whole: boolean,
  ): Promise<void> {
    const { lease, checkpoint } = this.#keys;
    const rows = chunks.flatMap(({ index, bytes }) => [
      `${this.#epoch}:${index}`,
      Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    ]);
    // A lost checkpoint must be noticed, because the next one has only later changes.
    const args = [Math.round(taken.unix), Math.floor(taken.redisUnix), whole ? '1' : '0', ...rows];
    await this.#write('write-checkpoint', [lease, checkpoint], args);
  }

  /**
   * What former owners left. Without any it is an empty checkpoint of the time when the shard's lease was first taken.
   */
  async readCheckpoint(): Promise<FormerOwners> {
    const { redis } = this.#context;
    const [checkpoint, translated, nowUnix] = await Promise.all([
      redis.hgetallBuffer(this.#keys.checkpoint),
      redis.hgetall(this.#keys.translated),
      redisNow(redis),
    ]);
    return readFormer(this.#id, { checkpoint, translated }, nowUnix, this.#context.refused);
  }

  /**
   * Appends verdicts to the log as one entry, once each however often it is called. On return replicas have them, as many
   * as must.
   * @param verdicts 1,000 at most, and where each one's message lies in `messages`
   * @param failoverAfterMs when their failovers are looked at for the first time, from now
   */
  async appendVerdicts(
    verdicts: readonly { readonly id: string; readonly from: number; readonly to: number }[],
    messages: Buffer,
    failoverAfterMs: number,
  ): Promise<void> {
    const { lease, verdicts: log, unacked, dead, due } = this.#keys;
    const sealed = this.#verdicts.sealAll(verdicts, messages);
    const args = [LOG_ENTRIES, failoverAfterMs, packIds(verdicts), sealed];
    const write = await this.#write('append-verdicts', [lease, log, unacked, dead, due], args);
    await this.#confirm(write);
  }

  /** The SAs answered after their verdict. */
  async revive(spis: readonly string[]): Promise<void> {
    await this.#write('revive-sas', [this.#keys.lease, this.#keys.dead], spis);
  }

  /** Notes that a request of the headend's daemon is about to be sent under this id. */
  async noteTranslated(spi: string, { daemonId, id }: Translated): Promise<void> {
    const { lease, translated } = this.#keys;
    await this.#write('note-translations', [lease, translated], [spi, `${daemonId}:${id}`]);
  }

  /** Notes events of peers. Their loss does not matter. */
  async noteEvents(events: readonly NotedEvent[], nowUnix: number): Promise<void> {
    const { lease, history, noted } = this.#keys;
    const args = [this.#epoch, '', Math.round(nowUnix), HISTORY.events, HISTORY.peers, ...packEvents(events)];
    await runFenced(this.#context.redis, 'note-events', [lease, history, noted], args);
  }

  /** Notes how the shard's probes leave. */
  async writePath(path: ShardPath): Promise<void> {
    await this.#write('write-path', [this.#keys.lease], [JSON.stringify(path)]);
  }

  /** The path that was noted last; undefined if there is none that can be read. */
  async readPath(): Promise<ShardPath | undefined> {
    const text = await this.#context.redis.hget(this.#keys.lease, 'path');
    const path = text === null ? undefined : readStoredPath(this.#keys.lease, text);
    if (!(path instanceof RecordError)) return path;
    this.#context.refused(path);
    return undefined;
  }

  /** Verdicts that wait for their acknowledgement: the name of each one's present attempt, and its id. */
  async listUnacked(): Promise<Map<string, string>> {
    const { redis } = this.#context;
    const { unacked, attempts } = this.#keys;
    const [ids, laterAttempts] = await Promise.all([redis.hkeys(unacked), redis.hgetall(attempts)]);
    return new Map(ids.map((id) => [attemptName(id, Number(laterAttempts[id] ?? 0)), id]));
  }

  /**
   * Reads some of those listed; a record that no node wrote is skipped. Replicas may not have those of former owners yet, and are waited
   * for.
   */
  async readUnacked(listed: readonly { readonly name: string; readonly id: string }[]): Promise<StoredVerdict[]> {
    const { redis } = this.#context;
    if (listed.length > 0 && !this.#inheritanceSafe) {
      await this.#confirm(this.#acknowledged);
      this.#inheritanceSafe = true;
    }
    const verdicts: StoredVerdict[] = [];
    for (let n = 0; n < listed.length; n += PAGE) {
      const page = listed.slice(n, n + PAGE);
      const messages = await redis.hmgetBuffer(this.#keys.unacked, ...page.map(({ id }) => id));
      page.forEach(({ name }, k) => {
        const sealed = messages[k];
        if (!sealed) return;
        const bytes = this.#verdicts.open(sealed);
        if (bytes) verdicts.push({ name, bytes });
        else this.#context.refused(new RecordError(this.#keys.unacked, `no node wrote ${name}`));
      });
    }
    return verdicts;
  }

  /** Whether failovers are under way. */
  async hasFailovers(): Promise<boolean> {
    return (await this.#context.redis.zcard(this.#keys.due)) > 0;
  }

  /** Waits until the required number of replicas has all writes up to this one. */
  async #confirm(write: number): Promise<void> {
    const { replicated } = this.#context;
    if (replicated) await confirmWrite(replicated.redis, this.#keys.lease, this.#epoch, write, replicated.replicas);
  }

  /**
   * Number of the last write that Redis must know of. A write under way counts, too: it may still be acknowledged by a
   * server that is replaced meanwhile, and the next write would hide its loss.
   */
  get #lastWrite(): number {
    return Math.max(this.#acknowledged, ...this.#underWay);
  }

  /** Returns the number of the write. */
  async #write(
    name: FencedScript,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
  ): Promise<number> {
    const write = ++this.#writes;
    const before = this.#lastWrite;
    const underWay = this.#underWay.add(write);
    try {
      await runFenced(this.#context.redis, name, keys, [this.#epoch, `${write}/${before}`, ...args]);
    } finally {
      underWay.delete(write);
    }
    // If the lease was taken anew meanwhile, numbers begin anew.
    if (underWay === this.#underWay) this.#acknowledged = Math.max(this.#acknowledged, write);
    return write;
  }
}

/** An unchecked name, made safe for the log. */
function nameOf(name: Buffer): string {
  return JSON.stringify(name.toString('latin1', 0, 40));
}

/**
 * Verdicts as append-verdicts.lua reads them: one argument costs the client a third of one argument for each verdict.
 */
function packIds(verdicts: Parameters<ShardStore['appendVerdicts']>[0]): Buffer {
  const packed = Buffer.allocUnsafe(verdicts.reduce((sum, { id }) => sum + VERDICT_HEAD + id.length, 0));
  let at = 0;
  for (const { id, from, to } of verdicts) {
    at = packed.writeUInt8(id.length, at);
    at = packed.writeUInt16BE(MAC_LENGTH + to - from, at);
    at += packed.write(id, at, 'latin1');
  }
  return packed;
}
const VERDICT_HEAD = 3;

/** Name of a verdict's attempt; the first one has the verdict's id. */
export function attemptName(id: string, attempt: number): string {
  return attempt === 0 ? id : `${id}/${attempt}`;
}
