/**
 * A shard as its node hosts it: the lease and state in Redis, the thread that watches, and, while the headend is
 * connected, the stream it speaks through. Outlives the stream: a shard whose headend is away stays watched.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Redis } from 'ioredis';
import type { Piscina } from 'piscina';
import type { UpsertSas } from '../../proto/gen/dpd/v1/headend_pb.js';
import { type Sa, SaKeysSchema, SaSchema, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import type {
  CheckpointChunk,
  PeerStatus,
  Recovery,
  ShardCounters,
  ShardPath,
  ShardSa,
} from '../../workers/protocol.ts';
import { NO_MID } from '../../workers/protocol.ts';
import type { Logger } from '../log.ts';
import { type SpiPair, spiHex } from '../spi.ts';
import type { ShardId } from '../store/keys.ts';
import { FencedError } from '../store/scripts.ts';
import { ShardStore } from '../store/shard-store.ts';
import type { Vault } from '../store/vault.ts';
import type { SuspicionTraces } from '../telemetry/traces.ts';
import { ShardRecords } from './records.ts';
import { candidateIds, toShardSa } from './shard-sa.ts';
import { ShardThread } from './shard-thread.ts';
import { VerdictWriter } from './verdict-writer.ts';

/** How often the lease is renewed and a checkpoint written, ms. */
const HOUSEKEEPING_MS = 1_000;
const RESTART_MS = 500;

/** What a headend's stream does for its shard. */
export type ShardStream = {
  verdicts(verdicts: readonly Verdict[]): void;
  delegatedProbes(handles: Uint32Array, probeIds: Uint32Array): void;
  /** The node will give the shard up after this time, ms. */
  drain(graceMs: number): void;
  /** The shard is no longer here. */
  end(reason: string): void;
};

export type HostContext = {
  readonly redis: Redis;
  readonly vault: Vault;
  readonly pool: Piscina;
  readonly node: string;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
  readonly probe: { readonly address: string; readonly port: number };
  /** The host is gone by itself: it lost the shard to another node. */
  readonly onLost: (host: ShardHost) => void;
};

export class ShardHost {
  readonly id: ShardId;
  readonly shards: number;
  records = new ShardRecords();
  readonly #context: HostContext;
  readonly #store: ShardStore;
  readonly #verdicts: VerdictWriter;
  readonly #log: Logger;
  #thread!: ShardThread;
  #probePort = 0;
  #stream: ShardStream | undefined;
  #path: ShardPath | undefined;
  #timer: NodeJS.Timeout | undefined;
  #housekeeping: Promise<void> | undefined;
  #pendingChunks = new Map<number, Uint8Array>();
  #formerCheckpoints = true;
  #stopped = false;

  private constructor(context: HostContext, id: ShardId, shards: number, store: ShardStore) {
    this.id = id;
    this.shards = shards;
    this.#context = context;
    this.#store = store;
    this.#log = context.log.child({ headend: id.headend, shard: id.shard, epoch: store.epoch });
    this.#verdicts = new VerdictWriter(
      { ...id, store, traces: context.traces, log: this.#log },
      (verdicts) => this.#stream?.verdicts(verdicts),
      () => this.#lose('lease taken by another node'),
    );
  }

  /** Takes the shard's lease, loads it from Redis and starts watching. */
  static async open(context: HostContext, id: ShardId, shards: number): Promise<ShardHost> {
    const store = await ShardStore.take(context.redis, context.vault, id, context.node);
    const host = new ShardHost(context, id, shards, store);
    await host.#load();
    host.#timer = setInterval(() => {
      host.#housekeeping ??= host.#keepHouse().finally(() => {
        host.#housekeeping = undefined;
      });
    }, HOUSEKEEPING_MS);
    return host;
  }

  get epoch(): number {
    return this.#store.epoch;
  }

  /** UDP port that the shard probes from. */
  get probePort(): number {
    return this.#probePort;
  }

  /** Joins the headend's stream, ending an older one. */
  attach(stream: ShardStream): void {
    this.#stream?.end('a newer stream for this shard took over');
    this.#stream = stream;
    this.#thread.send({ type: 'headend', present: true });
  }

  /** The stream ended. Nobody vouches for the path any more, and a voucher soon runs out. */
  detach(stream: ShardStream): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#thread.send({ type: 'headend', present: false });
  }

  /** Writes SAs to Redis, then watches them. Returns their handles. On error nothing has changed. */
  async upsert(sas: UpsertSas['sas']): Promise<number[]> {
    const rows = sas.map((sa) => ({ sa, spi: spiHex(sa.id!), encoded: encodeWithoutKeys(sa) }));
    await this.#store.writeSas(
      rows.map(({ sa, spi, encoded }) => ({
        spi,
        sa: encoded,
        keys: sa.keys && toBinary(SaKeysSchema, sa.keys),
      })),
      [],
    );
    const shardSas: ShardSa[] = [];
    const handles = rows.map(({ sa, encoded }) => {
      const handle = this.records.put(sa.id!, sa.revision, encoded);
      shardSas.push(
        toShardSa(handle, sa, sa.keys, { nextMid: sa.nextMessageId, heardAgeMs: 0, dead: false, candidates: 0 }),
      );
      return handle;
    });
    this.#thread.send({ type: 'upsert', sas: shardSas });
    return handles;
  }

  /** Forgets SAs. Returns the next message id of each, {@link NO_MID} where none is known. */
  async remove(ids: readonly SpiPair[]): Promise<number[]> {
    const handles = ids.map((id) => this.records.find(id));
    const known = handles.filter((handle) => handle >= 0);
    await this.#store.writeSas([], ids.map(spiHex));
    const mids = await this.#thread.ask('remove', known);
    for (const handle of known) this.records.remove(handle);
    const byHandle = new Map(known.map((handle, n) => [handle, mids[n]!]));
    return handles.map((handle) => byHandle.get(handle) ?? NO_MID);
  }

  evidence(heard: readonly number[], sent: readonly number[], ageMs: number): void {
    const heardHandles = new Uint32Array(heard);
    const sentHandles = new Uint32Array(sent);
    this.#thread.send({ type: 'evidence', heard: heardHandles, sent: sentHandles, ageMs }, [
      heardHandles.buffer,
      sentHandles.buffer,
    ]);
  }

  delegatedResults(handles: readonly number[], probeIds: readonly number[]): void {
    this.#thread.send({ type: 'delegated', handles: new Uint32Array(handles), probeIds: new Uint32Array(probeIds) });
  }

  setPath(path: ShardPath): void {
    this.#path = path;
    this.#thread.send({ type: 'path', path });
  }

  vouch(canary: number): void {
    this.#thread.send({ type: 'voucher', canary });
  }

  counters(): Promise<ShardCounters> {
    return this.#thread.ask('counters');
  }

  statuses(handles: readonly number[]): Promise<readonly PeerStatus[]> {
    return this.#thread.ask('query', handles);
  }

  /** Verdicts that wait for their acknowledgement, encoded. */
  unacknowledged(): Promise<Buffer[]> {
    return this.#store.readUnacked();
  }

  /** Tells the headend that the shard is about to move. */
  drain(graceMs: number): void {
    this.#stream?.drain(graceMs);
  }

  /** Stops watching, writes the last checkpoint and gives the lease back. */
  async stop(reason: string): Promise<void> {
    if (this.#stopped) return;
    this.#end(reason);
    await this.#housekeeping;
    this.#keep(await this.#thread.stop());
    try {
      await this.#writeCheckpoint();
      await this.#store.release();
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'last checkpoint not written');
    }
  }

  #end(reason: string): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.#verdicts.stop();
    this.#stream?.end(reason);
    this.#stream = undefined;
  }

  #lose(reason: string): void {
    if (this.#stopped) return;
    this.#log.warn({ reason }, 'shard lost');
    this.#end(reason);
    void this.#thread.stop();
    this.#context.onLost(this);
  }

  async #load(): Promise<void> {
    this.records = new ShardRecords();
    this.#thread = this.#startThread();
    this.#probePort = await this.#thread.ready;
    if (this.#path) this.#thread.send({ type: 'path', path: this.#path });
    const [checkpoint, dead] = await Promise.all([this.#store.readCheckpoint(), this.#store.readDead()]);
    const now = Date.now();
    for await (const page of this.#store.readSas()) {
      const sas = page.map((stored) => {
        const { sa, keys } = decodeStored(stored.sa, stored.keys);
        const row = checkpoint?.rows.get(stored.spi);
        const handle = this.records.put(sa.id!, sa.revision, stored.sa);
        return toShardSa(handle, sa, keys, {
          nextMid: row?.nextMid ?? sa.nextMessageId,
          // Time in which nobody watched does not count against a peer.
          heardAgeMs: row && checkpoint ? Math.max(0, checkpoint.atUnix - row.heardUnix) : 0,
          dead: dead.has(stored.spi),
          candidates: candidateIds(now - (checkpoint?.atUnix ?? now), sa.policy!.intervalMs),
        });
      });
      this.#thread.send({ type: 'upsert', sas });
    }
    this.#log.info({ sas: this.records.set.count, probePort: this.#probePort }, 'shard watched');
  }

  #startThread(): ShardThread {
    const { pool, probe } = this.#context;
    const thread = new ShardThread(pool, probe, (event) => {
      if (event.type === 'delegated') this.#stream?.delegatedProbes(event.handles, event.probeIds);
      else if (event.type === 'recovered') this.#recovered(event.recoveries);
      else
        for (const verdict of event.verdicts) {
          const sa = this.records.get(verdict.handle);
          if (sa) this.#verdicts.add(verdict, sa);
        }
    });
    thread.done.catch((error: Error) => {
      if (!this.#stopped && thread === this.#thread) this.#restart(error);
    });
    return thread;
  }

  /** The thread died: everything there is known from Redis and runs again on a new one. */
  #restart(error: Error): void {
    this.#log.error({ reason: error.message }, 'shard thread died; starting again');
    setTimeout(async () => {
      if (this.#stopped) return;
      try {
        await this.#load();
        // Handles are new: the headend must learn them.
        this.#stream?.end('shard restarted');
        this.#stream = undefined;
      } catch (again) {
        if (again instanceof FencedError) this.#lose(again.message);
        else this.#restart(again as Error);
      }
    }, RESTART_MS);
  }

  #recovered(recoveries: readonly Recovery[]): void {
    const revived: string[] = [];
    for (const { handle, firstProbeUnix, attempts, wasDead } of recoveries) {
      const sa = this.records.get(handle);
      if (!sa) continue;
      const spi = spiHex(sa.id!);
      this.#context.traces.recovered({ ...this.id, peerId: sa.peerId, sa: spi, firstProbeUnix, attempts });
      if (wasDead) revived.push(spi);
    }
    if (revived.length === 0) return;
    this.#log.warn({ sas: revived.length }, 'peers answered after their verdict');
    this.#store.revive(revived).catch((error: Error) => this.#log.warn({ reason: error.message }, 'revival not noted'));
  }

  async #keepHouse(): Promise<void> {
    try {
      await this.#store.renew();
      this.#keep(await this.#thread.ask('checkpoint'));
      await this.#writeCheckpoint();
    } catch (error) {
      if (error instanceof FencedError) this.#lose(error.message);
      else this.#log.warn({ reason: (error as Error).message }, 'checkpoint waits');
    }
  }

  #keep(chunks: readonly CheckpointChunk[]): void {
    for (const { index, bytes } of chunks) this.#pendingChunks.set(index, bytes);
  }

  /** Writes the chunks kept; those that do not arrive stay kept, the newest of each. */
  async #writeCheckpoint(): Promise<void> {
    const chunks = this.#pendingChunks;
    this.#pendingChunks = new Map();
    try {
      await this.#store.writeCheckpoint(
        Array.from(chunks, ([index, bytes]) => ({ index, bytes })),
        Date.now(),
      );
      if (this.#formerCheckpoints) {
        await this.#store.dropFormerCheckpoints();
        this.#formerCheckpoints = false;
      }
    } catch (error) {
      this.#pendingChunks = new Map([...chunks, ...this.#pendingChunks]);
      throw error;
    }
  }
}

function encodeWithoutKeys(sa: Sa): Uint8Array {
  const { keys: _keys, ...bare } = sa;
  return toBinary(SaSchema, create(SaSchema, bare));
}

function decodeStored(sa: Buffer, keys: Buffer | undefined) {
  return {
    sa: fromBinary(SaSchema, sa),
    keys: keys && fromBinary(SaKeysSchema, keys),
  };
}
