/** One shard's state in Redis, written under one epoch of its lease. */

import type { Redis } from 'ioredis';
import { type CheckpointRow, decodeChunk } from '../../workers/checkpoint.ts';
import type { CheckpointChunk } from '../../workers/protocol.ts';
import { HEADENDS, type ShardId, shardKeys } from './keys.ts';
import { runScript } from './scripts.ts';
import type { Vault } from './vault.ts';

/** How long a lease holds unless renewed, ms. */
export const LEASE_MS = 5_000;
/** Verdicts kept in a shard's log, roughly. */
export const VERDICT_LOG_LENGTH = 100_000;
/** SAs read from Redis at a time. */
const PAGE = 2_000;

/** An SA as stored: encoded without keys, and the keys encoded, open. */
export type StoredSa = { readonly spi: string; readonly sa: Buffer; readonly keys: Buffer | undefined };

/** A shard's lease as anyone may read it. */
export type Lease = { readonly epoch: bigint; readonly node: string; readonly valid: boolean };

export class ShardStore {
  readonly epoch: number;
  readonly #redis: Redis;
  readonly #vault: Vault;
  readonly #id: ShardId;
  readonly #keys: ReturnType<typeof shardKeys>;

  private constructor(redis: Redis, vault: Vault, id: ShardId, epoch: number) {
    this.#redis = redis;
    this.#vault = vault;
    this.#id = id;
    this.#keys = shardKeys(id);
    this.epoch = epoch;
  }

  /** Takes the shard's lease with a new epoch, which fences off every former owner. */
  static async take(redis: Redis, vault: Vault, id: ShardId, node: string): Promise<ShardStore> {
    const epoch = await runScript(redis, 'take-lease', [shardKeys(id).lease], [node, LEASE_MS]);
    return new ShardStore(redis, vault, id, epoch);
  }

  /** Prolongs the lease. Throws FencedError, as all writes do, if the shard has a newer owner. */
  async renew(): Promise<void> {
    await runScript(this.#redis, 'renew-lease', [this.#keys.lease], [this.epoch, LEASE_MS]);
  }

  /** Ends the lease, so that others see at once that the shard has no owner. */
  async release(): Promise<void> {
    await runScript(this.#redis, 'renew-lease', [this.#keys.lease], [this.epoch, 0]);
  }

  /** Writes and removes SAs in one step; on return they are in Redis. */
  async writeSas(
    written: readonly { spi: string; sa: Uint8Array; keys: Uint8Array | undefined }[],
    removed: readonly string[],
  ): Promise<void> {
    const { lease, sas, keys, dead } = this.#keys;
    const rows = written.flatMap(({ spi, sa, keys: plain }) => [
      spi,
      Buffer.from(sa),
      plain ? this.#vault.seal(plain, this.#context(spi)) : '',
    ]);
    await runScript(
      this.#redis,
      'write-sas',
      [lease, sas, keys, dead],
      [this.epoch, written.length, ...rows, ...removed],
    );
  }

  /** Every SA of the shard, page by page. Throws VaultError if keys were sealed with another vault key. */
  async *readSas(): AsyncGenerator<StoredSa[]> {
    let cursor = '0';
    do {
      const [next, fields] = await this.#redis.hscanBuffer(this.#keys.sas, cursor, 'COUNT', PAGE);
      cursor = String(next);
      const page = fields.flatMap((field, n) => (n % 2 === 0 ? [{ spi: String(field), sa: fields[n + 1]! }] : []));
      if (page.length === 0) continue;
      const sealed = await this.#redis.hmgetBuffer(this.#keys.keys, ...page.map(({ spi }) => spi));
      yield page.map(({ spi, sa }, n) => ({
        spi,
        sa,
        keys: sealed[n] ? this.#vault.open(sealed[n], this.#context(spi)) : undefined,
      }));
    } while (cursor !== '0');
  }

  /** SPI pairs whose verdict is in the log. */
  async readDead(): Promise<Set<string>> {
    return new Set(await this.#redis.hkeys(this.#keys.dead));
  }

  /** Writes chunks of the checkpoint. They stand beside those of former owners, whose handles were others. */
  async writeCheckpoint(chunks: readonly CheckpointChunk[], nowUnix: number): Promise<void> {
    const { lease, checkpoint } = this.#keys;
    const rows = chunks.flatMap(({ index, bytes }) => [
      `${this.epoch}:${index}`,
      Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    ]);
    await runScript(this.#redis, 'write-checkpoint', [lease, checkpoint], [this.epoch, nowUnix, ...rows]);
  }

  /** The newest row of each SA and the Unix ms of the last write, or undefined if there is no checkpoint. */
  async readCheckpoint(): Promise<{ atUnix: number; rows: Map<string, CheckpointRow> } | undefined> {
    const { at, ...chunks } = await this.#redis.hgetallBuffer(this.#keys.checkpoint);
    if (!at) return undefined;
    const rows = new Map<string, CheckpointRow>();
    for (const chunk of Object.values(chunks))
      for (const row of decodeChunk(chunk)) {
        // Message ids only grow, so the higher one is the newer row.
        const other = rows.get(row.sa);
        if (!other || other.nextMid < row.nextMid || other.heardUnix < row.heardUnix) rows.set(row.sa, row);
      }
    return { atUnix: Number(at), rows };
  }

  /** Forgets the chunks of former owners, once this one has written all of its own. */
  async dropFormerCheckpoints(): Promise<void> {
    const fields = await this.#redis.hkeys(this.#keys.checkpoint);
    const former = fields.filter((field) => field !== 'at' && !field.startsWith(`${this.epoch}:`));
    if (former.length > 0) await this.#redis.hdel(this.#keys.checkpoint, ...former);
  }

  /** Appends verdicts to the log, once each however often it is called. */
  async appendVerdicts(verdicts: readonly { spi: string; id: string; bytes: Uint8Array }[]): Promise<void> {
    const { lease, verdicts: log, unacked, dead } = this.#keys;
    const rows = verdicts.flatMap(({ spi, id, bytes }) => [spi, id, Buffer.from(bytes)]);
    await runScript(
      this.#redis,
      'append-verdicts',
      [lease, log, unacked, dead],
      [this.epoch, VERDICT_LOG_LENGTH, ...rows],
    );
  }

  /** The SAs answered after their verdict. */
  async revive(spis: readonly string[]): Promise<void> {
    await runScript(this.#redis, 'revive-sas', [this.#keys.lease, this.#keys.dead], [this.epoch, ...spis]);
  }

  /** Verdicts not acknowledged yet, encoded. */
  async readUnacked(): Promise<Buffer[]> {
    return this.#redis.hvalsBuffer(this.#keys.unacked);
  }

  #context(spi: string): string {
    return `${this.#id.headend}/${spi}`;
  }
}

/** Notes an acknowledgement; any node may. False if the verdict was not waiting for one. */
export async function acknowledgeVerdict(redis: Redis, id: ShardId, verdictId: string): Promise<boolean> {
  return (await redis.hdel(shardKeys(id).unacked, verdictId)) === 1;
}

/** Reads a shard's lease. */
export async function readLease(redis: Redis, id: ShardId): Promise<Lease | undefined> {
  const [lease, [seconds, micros]] = await Promise.all([redis.hgetall(shardKeys(id).lease), redis.time()]);
  const { epoch, node, until } = lease;
  if (epoch === undefined || node === undefined) return undefined;
  const now = Number(seconds) * 1_000 + Number(micros) / 1_000;
  return { epoch: BigInt(epoch), node, valid: Number(until) > now };
}

/** Headends ever seen, with their number of shards. */
export async function readHeadends(redis: Redis): Promise<Map<string, number>> {
  return new Map(Object.entries(await redis.hgetall(HEADENDS)).map(([name, shards]) => [name, Number(shards)]));
}

/** Notes a headend's number of shards, which never changes. Returns the number that holds. */
export async function registerHeadend(redis: Redis, headend: string, shards: number): Promise<number> {
  await redis.hsetnx(HEADENDS, headend, String(shards));
  return Number(await redis.hget(HEADENDS, headend));
}
