/** One shard's state in Redis, written under one epoch of its lease. */

import { packRecord, type SaRecords, saRecords } from '../../../workers/sa/sa-page.ts';
import type { CheckpointChunk, FormerOwners, ShardPath } from '../../../workers/shard/protocol.ts';
import { type ShardId, shardKeys } from '../keys.ts';
import { type RedisClient, redisNow } from '../redis/redis.ts';
import { confirmWrite, type FencedScript, LostWritesError, runFenced, runReader, runScript } from '../redis/scripts.ts';
import { ADOPT_ATTENDED_MS, LEASE_MS, MOST_LOST_MS, type TakenLease, type Taking, takeLease } from './lease.ts';

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

/** What a shard's store works with. */
export type StoreContext = {
  readonly redis: RedisClient;
  /** Name of the node that holds the lease. */
  readonly node: string;
  /** How many replicas must have a verdict before it counts as written, and a connection to wait for them. */
  readonly replicated: { readonly redis: RedisClient; readonly replicas: number } | undefined;
};

export class ShardStore {
  /** For how long an owner before this one may have gone on when this one took the shard, ms. */
  readonly formerRemainingMs: number;
  /** When this one took it, by Redis's clock, Unix ms. */
  readonly takenUnix: number;
  readonly #context: StoreContext;
  readonly #id: ShardId;
  readonly #keys: ReturnType<typeof shardKeys>;
  #epoch: number;
  /** Whether the former owner had stopped when it wrote its last checkpoint; said only at the first look at it. */
  #formerStopped: TakenLease['formerStopped'];
  /** From then on until this one took the lease nobody had the shard, by Redis's clock, Unix ms. */
  readonly #formerEndUnix: number;
  /** Writes are numbered, so that one which Redis forgets is missed. */
  #writes = 0;
  #acknowledged = 0;
  #underWay = new Set<number>();
  /** Replicas have what former owners wrote, as many as must. */
  #inheritanceSafe = false;

  private constructor(
    context: StoreContext,
    id: ShardId,
    { epoch, formerStopped, formerRemainingMs, formerUntilUnix, takenUnix }: TakenLease,
  ) {
    this.#context = context;
    this.#id = id;
    this.#keys = shardKeys(id);
    this.#epoch = epoch;
    this.#formerStopped = formerStopped;
    this.formerRemainingMs = formerRemainingMs;
    this.#formerEndUnix = formerUntilUnix === 0 ? takenUnix : formerUntilUnix + ADOPT_ATTENDED_MS;
    this.takenUnix = takenUnix;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Takes the shard's lease with a new epoch, which fences off every former owner.
   * @param taking `attended`: for its headend, which is about to be connected
   */
  static async take(context: StoreContext, id: ShardId, taking: Omit<Taking, 'holder'>): Promise<ShardStore> {
    return new ShardStore(context, id, await takeLease(context, id, { ...taking, holder: undefined }));
  }

  /**
   * Takes the lease anew, if Redis knows of no other owner. Throws FencedError, or the error of the connection.
   * Returns `lost` too: Redis does not know of all that was written under the former epoch, and nobody will miss it.
   */
  async retake(taking: Omit<Taking, 'holder'>): Promise<TakenLease & { readonly lost: boolean }> {
    const taken = await takeLease(this.#context, this.#id, { ...taking, holder: this.#epoch });
    const lost = taken.lastWrite < this.#lastWrite;
    this.#epoch = taken.epoch;
    this.#writes = 0;
    this.#acknowledged = 0;
    this.#underWay = new Set();
    this.#inheritanceSafe = false;
    return { ...taken, lost };
  }

  /**
   * Prolongs the lease. Returns Redis's time, and since when it has known nothing else than this owner with its headend,
   * Unix ms; 0: never anything else. Throws LostWritesError, once, when it is prolonged all the same; or what
   * {@link runFenced} throws.
   * @param attended the headend is connected: others leave the shard to it
   */
  async renew(attended: boolean): Promise<{ readonly nowUnix: number; readonly attendedSinceUnix: number }> {
    const expected = this.#acknowledged;
    const args = [this.#epoch, '', LEASE_MS, attended ? '1' : '0'];
    const reply = await runFenced(this.#context.redis, 'renew-lease', [this.#keys.lease], args);
    const [known, nowUnix, attendedSinceUnix] = reply as [number, number, number];
    if (known >= expected) return { nowUnix, attendedSinceUnix };
    // From here on what Redis has counts, so that the repair is not refused as well.
    this.#acknowledged = known;
    throw new LostWritesError(`write ${known} is the last of ${expected} that Redis knows`);
  }

  /** Ends the lease, so that others see at once that the shard has no owner. */
  async release(): Promise<void> {
    await runFenced(this.#context.redis, 'renew-lease', [this.#keys.lease], [this.#epoch, '', 0, '0']);
  }

  /** Writes and removes SAs in one step, keys sealed; on return they are in Redis. */
  async writeSas(
    written: readonly { spi: string; sa: Uint8Array; keys: Uint8Array | undefined }[],
    removed: readonly string[],
  ): Promise<void> {
    const { lease, sas, dead } = this.#keys;
    const withKeys: (string | Buffer)[] = [];
    const without: (string | Buffer)[] = [];
    for (const { spi, sa, keys } of written) {
      (keys ? withKeys : without).push(spi, packRecord(sa, keys));
    }
    const counts = [withKeys.length / 2, without.length / 2];
    await this.#write('write-sas', [lease, sas, dead], [...counts, ...withKeys, ...without, ...removed]);
  }

  /** Removes any number of SAs; what does not arrive may have been done in part. */
  async removeSas(spis: readonly string[]): Promise<void> {
    for (let n = 0; n < spis.length; n += PAGE) await this.writeSas([], spis.slice(n, n + PAGE));
  }

  /** Every SA of the shard, page by page; one may come twice. */
  async *readSas(): AsyncGenerator<StoredPage> {
    const { redis } = this.#context;
    let cursor = '0';
    do {
      const reply = await runReader(redis, 'read-sas', [this.#keys.sas], [cursor, PAGE]);
      const [next, spis, ends, bytes] = reply as [Buffer, Buffer, Buffer, Buffer<ArrayBuffer>];
      cursor = String(next);
      if (spis.length > 0) yield { spis, records: saRecords(ends, bytes) };
    } while (cursor !== '0');
  }

  /** SPI pairs of every SA. */
  readSpis(): Promise<string[]> {
    return this.#context.redis.hkeys(this.#keys.sas);
  }

  /** Names the history that Redis is in, '' if it does not say: in the same one nothing is lost that was written. */
  async readHistory(): Promise<string> {
    return String(await runScript(this.#context.redis, 'read-history', [this.#keys.lease], []));
  }

  /** SPI pairs whose verdict is in the log. */
  async readDead(): Promise<Set<string>> {
    return new Set(await this.#context.redis.hkeys(this.#keys.dead));
  }

  /**
   * Writes chunks of the checkpoint.
   * @param taken up to when all is told, by the owner's clock, and by Redis's at the earliest, Unix ms
   * @param whole they are all there is; otherwise they stand beside those written before, of former owners too
   * @param final this owner has stopped: nothing changes any more
   */
  async writeCheckpoint(
    chunks: readonly CheckpointChunk[],
    taken: { readonly unix: number; readonly redisUnix: number },
    { whole, final }: { readonly whole: boolean; readonly final: boolean },
  ): Promise<void> {
    const { lease, checkpoint } = this.#keys;
    const rows = chunks.flatMap(({ index, bytes }) => [
      `${this.#epoch}:${index}`,
      Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    ]);
    // One that is lost must be missed: the next tells only of what changed since.
    const args = [Math.round(taken.unix), Math.floor(taken.redisUnix), final ? '1' : '0', whole ? '1' : '0', ...rows];
    await this.#write('write-checkpoint', [lease, checkpoint], args);
  }

  /** What former owners left. Without any it is an empty one, of when the shard's lease was first taken. */
  async readCheckpoint(): Promise<FormerOwners> {
    const { redis } = this.#context;
    const stopped = this.#formerStopped;
    const [{ at, taken, final: _, history: __, ...chunks }, nowUnix] = await Promise.all([
      redis.hgetallBuffer(this.#keys.checkpoint),
      redisNow(redis),
    ]);
    this.#formerStopped = 'no';
    const ageMs = Math.max(0, nowUnix - Number(taken) - this.#unownedMs(Number(taken)));
    return {
      headend: this.#id.headend,
      chunks: Object.entries(chunks).map(([field, bytes]) => ({ epoch: Number(field.split(':')[0]), bytes })),
      atUnix: Number(at ?? 0),
      ageMs: stopped === 'perhaps not last' ? Math.min(ageMs, MOST_LOST_MS) : ageMs,
      final: stopped === 'last',
      leaseMs: LEASE_MS,
    };
  }

  /** For how long nobody had the shard after a checkpoint of a former owner, ms. */
  #unownedMs(checkpointUnix: number): number {
    return Math.max(0, this.takenUnix - Math.max(this.#formerEndUnix, checkpointUnix));
  }

  /**
   * Appends verdicts to the log as one entry, once each however often it is called. On return replicas have them, as many
   * as must.
   * @param verdicts 1,000 at most
   * @param failoverAfterMs when their failovers are looked at for the first time, from now
   */
  async appendVerdicts(
    verdicts: readonly { readonly id: string; readonly from: number; readonly to: number }[],
    messages: Buffer,
    failoverAfterMs: number,
  ): Promise<void> {
    const { lease, verdicts: log, unacked, dead, due } = this.#keys;
    const args = [LOG_ENTRIES, failoverAfterMs, packIds(verdicts), messages];
    const write = await this.#write('append-verdicts', [lease, log, unacked, dead, due], args);
    await this.#confirm(write);
  }

  /** The SAs answered after their verdict. */
  async revive(spis: readonly string[]): Promise<void> {
    await this.#write('revive-sas', [this.#keys.lease, this.#keys.dead], spis);
  }

  /** Notes how the shard's probes leave. */
  async writePath(path: ShardPath): Promise<void> {
    await this.#write('write-path', [this.#keys.lease], [JSON.stringify(path)]);
  }

  async readPath(): Promise<ShardPath | undefined> {
    const path = await this.#context.redis.hget(this.#keys.lease, 'path');
    return path === null ? undefined : (JSON.parse(path) as ShardPath);
  }

  /**
   * Verdicts that wait for their acknowledgement. Those of former owners may be new to replicas, which are waited for.
   * @param wanted by {@link StoredVerdict.name} and the verdict's id: the others are only counted up
   */
  async readUnacked(
    wanted: (name: string, id: string) => boolean,
  ): Promise<{ readonly names: ReadonlySet<string>; readonly verdicts: StoredVerdict[] }> {
    const { redis } = this.#context;
    const { unacked, attempts } = this.#keys;
    const [ids, laterAttempts] = await Promise.all([redis.hkeys(unacked), redis.hgetall(attempts)]);
    const names = ids.map((id) => attemptName(id, Number(laterAttempts[id] ?? 0)));
    const due = names.flatMap((name, n) => (wanted(name, ids[n]!) ? [{ name, id: ids[n]! }] : []));
    if (due.length > 0 && !this.#inheritanceSafe) {
      await this.#confirm(this.#acknowledged);
      this.#inheritanceSafe = true;
    }
    const verdicts: StoredVerdict[] = [];
    for (let n = 0; n < due.length; n += PAGE) {
      const page = due.slice(n, n + PAGE);
      const messages = await redis.hmgetBuffer(unacked, ...page.map(({ id }) => id));
      page.forEach(({ name }, k) => {
        const bytes = messages[k];
        if (bytes) verdicts.push({ name, bytes });
      });
    }
    return { names: new Set(names), verdicts };
  }

  /** SPI pairs of whose life somebody asks and does not know enough. */
  async readAsked(): Promise<string[]> {
    const asked = await this.#context.redis.hgetall(this.#keys.asked);
    return Object.keys(asked).filter((spi) => asked[spi] === '' || asked[spi] === 'HELD');
  }

  /** Answers those who asked, by SPI pair. */
  async tell(answers: Readonly<Record<string, 'HELD' | 'ALIVE' | 'DEAD'>>): Promise<void> {
    if (Object.keys(answers).length > 0) await this.#context.redis.hset(this.#keys.asked, answers);
  }

  /** Whether failovers are under way. */
  async hasFailovers(): Promise<boolean> {
    return (await this.#context.redis.zcard(this.#keys.due)) > 0;
  }

  /** Waits until replicas have all writes up to this one, as many as must. */
  async #confirm(write: number): Promise<void> {
    const { replicated } = this.#context;
    if (replicated) await confirmWrite(replicated.redis, this.#keys.lease, this.#epoch, write, replicated.replicas);
  }

  /**
   * Number of the last write that Redis must know of. One under way counts: it may still be acknowledged by a server that is
   * replaced meanwhile, and the next would hide that it is lost.
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
    // Whoever has taken the lease anew meanwhile counts anew.
    if (underWay === this.#underWay) this.#acknowledged = Math.max(this.#acknowledged, write);
    return write;
  }
}

/** Verdicts as append-verdicts.lua reads them: one argument costs the client a third of what one a verdict do. */
function packIds(verdicts: Parameters<ShardStore['appendVerdicts']>[0]): Buffer {
  const packed = Buffer.allocUnsafe(verdicts.reduce((sum, { id }) => sum + VERDICT_HEAD + id.length, 0));
  let at = 0;
  for (const { id, from, to } of verdicts) {
    at = packed.writeUInt8(id.length, at);
    at = packed.writeUInt16BE(to - from, at);
    at += packed.write(id, at, 'latin1');
  }
  return packed;
}
const VERDICT_HEAD = 3;

/** Name of a verdict's attempt; the first is called as the verdict. */
function attemptName(id: string, attempt: number): string {
  return attempt === 0 ? id : `${id}/${attempt}`;
}
