/**
 * A shard as its node hosts it: the lease and state in Redis, the thread that watches, and, while the headend is
 * connected, the stream it speaks through. Outlives the stream: a shard whose headend is away stays watched.
 */

import type { UpsertSas } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { packKeys, unpackKeys } from '../../../workers/keys/keys-page.ts';
import { State } from '../../../workers/liveness/peers.ts';
import { MessageReader } from '../../../workers/sa/message-reader.ts';
import { buffersOf, packPage } from '../../../workers/sa/sa-page.ts';
import type { PeerStatus, ShardCounters, ShardPath } from '../../../workers/shard/protocol.ts';
import { NO_MID } from '../../../workers/shard/protocol.ts';
import { type SpiPair, type SpiWords, spiFromHex, spiHex, spiWords, wordsHex } from '../../api/spi.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { markAlive } from '../../store/cluster/dead-endpoints.ts';
import { registerHeadend } from '../../store/cluster/directory.ts';
import type { ShardId } from '../../store/keys.ts';
import { FencedError } from '../../store/redis/scripts.ts';
import { ShardStore, type StoreContext } from '../../store/shard/shard-store.ts';
import type { SuspicionTraces } from '../../telemetry/traces.ts';
import type { SaBytes } from '../api/headend/upsert-bytes.ts';
import type { ShardRecords } from '../records/records.ts';
import type { Sites } from '../records/sites.ts';
import type { HoldSettings } from '../verdicts/held-verdicts.ts';
import type { StormGuard } from '../verdicts/storm-guard.ts';
import { VerdictDesk } from '../verdicts/verdict-desk.ts';
import { CheckpointKeeper } from './checkpoint-keeper.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { writeAgain } from './repair.ts';
import { loadSas, tellAbandoned } from './shard-loader.ts';
import type { ShardEvent, ShardTaskHandle, StartShardTask } from './shard-thread.ts';
import { ThreadKeeper } from './thread-keeper.ts';

/** How often the lease is renewed and a checkpoint written, ms. */
const HOUSEKEEPING_MS = 800;
/** Rounds of housekeeping from one listing of the headend, and one look for what nobody told of, to the next. */
const LOOK_ROUNDS = 5;
/** SAs left out in one step. */
const REMOVED = 500;
/** Longest wait for verdicts on their way into the log when the shard is given up, ms. */
const VERDICTS_MS = 1_000;

/** A node as headends are told of it. */
export type Neighbour = { readonly id: string; readonly address: string; readonly draining: boolean };

/** What a headend's stream does for its shard. */
export type ShardStream = {
  /** @param verdicts a Verdicts message */
  verdicts(verdicts: Uint8Array): void;
  delegatedProbes(handles: Uint32Array, probeIds: Uint32Array): void;
  members(members: readonly Neighbour[]): void;
  /** The node will give the shard up after this time, ms. */
  drain(graceMs: number): void;
  /** The shard is no longer here. */
  end(reason: string): void;
};

export type HostContext = {
  readonly store: StoreContext;
  readonly startTask: StartShardTask;
  readonly clock: Clock;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
  readonly sites: Sites;
  readonly storm: StormGuard;
  readonly hold: HoldSettings;
  /** The shard has failovers to be seen through. */
  readonly wakeFailover: (id: ShardId, shards: number) => void;
  /** Until when a former owner's headend may have vouched for it, ms on the clock. */
  readonly formerVouchedUntilMs: number;
  readonly probe: { readonly address: string; readonly port: number };
  /** The host is gone by itself: it lost the shard to another node. */
  readonly onLost: (host: ShardHost) => void;
};

export class ShardHost {
  readonly id: ShardId;
  readonly shards: number;
  /** The shard's verdicts: held back, waiting for Redis, or on their way to the headend. */
  readonly verdicts: VerdictDesk;
  readonly #context: HostContext;
  readonly #store: ShardStore;
  readonly #log: Logger;
  readonly #lease: LeaseKeeper;
  readonly #checkpoint: CheckpointKeeper;
  readonly #thread: ThreadKeeper;
  #probePort = 0;
  #history = '';
  #stream: ShardStream | undefined;
  #path: ShardPath | undefined;
  #cancelTimer: () => void = () => {};
  #housekeeping: Promise<void> | undefined;
  #round = 0;
  /** SPI pairs of SAs that the thread does not watch any more. */
  readonly #abandoned = new Set<string>();
  /** How often Redis has lost what this owner wrote, and of how many of these it has been given all of it again. */
  #losses = 0;
  #repaired = 0;
  #stopped = false;

  private constructor(context: HostContext, id: ShardId, shards: number, store: ShardStore, takenAt: number) {
    this.id = id;
    this.shards = shards;
    this.#context = context;
    this.#store = store;
    this.#log = context.log.child({ ...id });
    this.#lease = new LeaseKeeper(store, context.clock, takenAt, {
      lost: (error) => {
        this.#log.error({ reason: error.message }, 'Redis lost what was written: it is written again');
        this.#losses++;
      },
      doubt: (missedMs) => {
        this.#task.send({ type: 'doubt', missedMs });
        // Another may have had SAs that this one was never told of, and Redis does not know of any more.
        this.#history = '';
      },
    });
    this.#checkpoint = new CheckpointKeeper(store, context.clock, this.#lease);
    this.#thread = new ThreadKeeper(
      { ...context, log: this.#log, startTask: (onEvent) => context.startTask(context.probe, onEvent) },
      {
        wanted: () => !this.#stopped,
        // What a thread that died told last, if Redis could not be told yet.
        prepare: () => this.#checkpoint.write(),
        fill: (task, records) => this.#fill(task, records),
        filled: (task) => {
          this.#checkpoint.watch(task);
          const { epoch, probePort } = this;
          this.#log.info({ epoch, sas: this.records.set.count, probePort }, 'shard watched');
        },
        hear: (event) => this.#hear(event),
        died: () => this.#threadDied(),
        fenced: (reason) => this.#lose(reason),
      },
    );
    this.verdicts = new VerdictDesk(
      { ...context, id, store, redis: context.store.redis, log: this.#log },
      {
        records: () => this.records,
        hold: (handles) => this.#task.send({ type: 'hold', handles }),
        endHold: (handles, drop) => this.#task.send({ type: 'endHold', handles, drop }),
        deliver: (verdicts) => this.#stream?.verdicts(verdicts),
        logged: () => context.wakeFailover(id, shards),
        fenced: () => this.#lose('lease taken by another node'),
      },
    );
  }

  /**
   * Takes the shard's lease, loads it from Redis and starts watching.
   * @param attended for its headend, which is about to be connected
   */
  static async open(context: HostContext, id: ShardId, shards: number, attended: boolean): Promise<ShardHost> {
    const takenAt = context.clock.now();
    const unstoppedMs = Math.max(0, context.formerVouchedUntilMs - takenAt);
    const store = await ShardStore.take(context.store, id, { attended, unstoppedMs });
    const host = new ShardHost(context, id, shards, store, takenAt);
    let loaded = false;
    host.#cancelTimer = context.clock.every(HOUSEKEEPING_MS, () => {
      host.#lease.awake();
      if (!loaded) return;
      host.#housekeeping ??= host.#keepHouse().finally(() => {
        host.#housekeeping = undefined;
      });
    });
    try {
      await host.#thread.start();
    } catch (error) {
      await host.stop('not loaded');
      throw error;
    }
    loaded = true;
    return host;
  }

  /** The shard's SAs, by the handles of the thread that watches them. */
  get records(): ShardRecords {
    return this.#thread.records;
  }

  get #task(): ShardTaskHandle {
    return this.#thread.task;
  }

  get epoch(): number {
    return this.#store.epoch;
  }

  /** For how long Redis has not known that the shard lives here, ms. */
  get withoutRedisMs(): number {
    return this.#lease.overdueMs;
  }

  /** Names what Redis remembers of the shard, all of which is here; '' if that is not known. See {@link ShardStore.readHistory}. */
  get history(): string {
    return this.#history;
  }

  /** UDP port that the shard probes from. */
  get probePort(): number {
    return this.#probePort;
  }

  /** Whether a headend is connected. */
  get attended(): boolean {
    return this.#stream !== undefined;
  }

  /**
   * Joins the headend's stream, ending an older one. Rejects if Redis cannot be told: others must know that the shard has
   * its headend before it is probed on that headend's word.
   * @param lastEpoch under which the headend had the shard last, here or elsewhere; 0 if it does not know
   */
  async attach(stream: ShardStream, lastEpoch: number): Promise<void> {
    do {
      await this.#thread.replaced;
      if (!this.#stopped) await this.#unlessFenced(this.#lease.claim(lastEpoch));
      if (this.#stopped) throw new Error('the shard has just moved');
      // The thread may have died meanwhile: what it held is not known again yet.
    } while (this.#thread.replaced);
    this.#stream?.end('a newer stream for this shard took over');
    this.#stream = stream;
    this.verdicts.newStream();
    this.#task.send({ type: 'lease', ...this.#lease.ownership });
    this.#task.send({ type: 'headend', present: true });
  }

  /** The stream ended. Nobody vouches for the path any more, and a voucher soon runs out. */
  detach(stream: ShardStream): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#lease.left();
    this.#task.send({ type: 'headend', present: false });
  }

  /** Tells the headend who lives. */
  tellMembers(members: readonly Neighbour[]): void {
    this.#stream?.members(members);
  }

  /**
   * Writes SAs to Redis, then watches them. Returns their handles. On error nothing has changed.
   * @param bytes of each SA, as they are stored
   */
  async upsert(sas: UpsertSas['sas'], bytes: readonly SaBytes[]): Promise<number[]> {
    const { sites } = this.#context;
    if (bytes.length !== sas.length) throw new RangeError(`bytes of ${bytes.length} SAs for ${sas.length}`);
    this.#refuseWhileDamaged();
    const spis = sas.map(({ id }) => spiWords(id!));
    const sealed = await this.#seal(spis, bytes);
    await this.#withThread(
      this.#store.writeSas(
        spis.map((spi, n) => ({ spi: wordsHex(spi), sa: bytes[n]!.sa, keys: sealed[n] })),
        [],
      ),
    );
    const rows = sas.map((sa, n) => {
      const site = sites.number(sa.site);
      const handle = this.records.put(spis[n]!, sa.revision, site, new MessageReader(bytes[n]!.sa));
      return { handle, site, dead: false, ...bytes[n]! };
    });
    const page = packPage(rows);
    this.#task.send({ type: 'upsert', page }, buffersOf(page));
    // An SA that came up shows that its endpoint lives; only a hint, so nothing waits for it.
    const endpoints = sas.map(({ endpoints: all, activeEndpoint }) => all[activeEndpoint]!);
    markAlive(this.#context.store.redis, endpoints).catch(() => {});
    return rows.map(({ handle }) => handle);
  }

  /** Seals the keys of each SA that has some; the thread does, as it has the time. */
  async #seal(spis: readonly SpiWords[], bytes: readonly SaBytes[]): Promise<(Uint8Array | undefined)[]> {
    const rows = bytes.flatMap(({ keys }, n) => (keys ? [{ spi: spis[n]!, keys }] : []));
    if (rows.length === 0) return bytes.map(() => undefined);
    const sealed = unpackKeys(await this.#withThread(this.#task.seal(packKeys(rows)))).values();
    return bytes.map(({ keys }) => keys && sealed.next().value!.keys);
  }

  /** Forgets SAs. Returns the next message id of each, {@link NO_MID} where it is not known for certain. */
  async remove(ids: readonly SpiPair[]): Promise<number[]> {
    this.#refuseWhileDamaged();
    const handles = ids.map((id) => this.records.find(id));
    const known = handles.filter((handle) => handle >= 0);
    await this.#withThread(this.#store.writeSas([], ids.map(spiHex)));
    const mids = await this.#withThread(this.#task.ask('remove', known));
    known.forEach((handle) => {
      this.verdicts.removed(handle, this.records.spi(handle));
      this.records.remove(handle);
    });
    const byHandle = new Map(known.map((handle, n) => [handle, mids[n]!]));
    return handles.map((handle) => byHandle.get(handle) ?? NO_MID);
  }

  evidence(heard: readonly number[], sent: readonly number[], ageMs: number): void {
    const heardHandles = new Uint32Array(heard);
    const sentHandles = new Uint32Array(sent);
    // A thread that is stalled just now must not take it for news when it goes on.
    const atMs = this.#context.clock.now() - ageMs;
    this.#task.send({ type: 'evidence', heard: heardHandles, sent: sentHandles, atMs }, [
      heardHandles.buffer,
      sentHandles.buffer,
    ]);
  }

  delegatedResults(handles: readonly number[], probeIds: readonly number[]): void {
    this.#task.send({ type: 'delegated', handles: new Uint32Array(handles), probeIds: new Uint32Array(probeIds) });
  }

  /** The headend says how probes leave; kept for an owner that has no headend to ask. */
  setPath(path: ShardPath): void {
    this.#path = path;
    this.#task.send({ type: 'path', path });
    this.#unlessFenced(this.#store.writePath(path)).catch((error: Error) =>
      this.#log.warn({ reason: error.message }, 'path not noted'),
    );
  }

  vouch(canary: number): void {
    this.#task.send({ type: 'voucher', canary });
  }

  counters(): Promise<ShardCounters> {
    return this.#task.ask('counters');
  }

  /** Next message id of each, {@link NO_MID} where none is known. */
  nextMids(handles: readonly number[]): Promise<Uint32Array> {
    return this.#task.ask('nextMids', handles);
  }

  statuses(handles: readonly number[]): Promise<readonly PeerStatus[]> {
    return this.#task.ask('query', handles);
  }

  /** Somebody called: delivers what waits for delivery and answers who asks for evidence. Never rejects. */
  async look(): Promise<void> {
    try {
      if (this.#stream) await this.verdicts.deliverAgain();
      await this.#answerAsked();
      // A word to the workers may have been lost.
      if (await this.#store.hasFailovers()) this.#context.wakeFailover(this.id, this.shards);
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'not looked');
    }
  }

  /** Tells the headend that the shard is about to move. */
  drain(graceMs: number): void {
    this.#stream?.drain(graceMs);
  }

  /** Stops watching, writes the last checkpoint and gives the lease back. */
  async stop(reason: string): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#cancelTimer();
    await this.#housekeeping;
    await this.#checkpoint.collectLast(this.#task);
    await this.verdicts.finish(VERDICTS_MS);
    this.#end(reason);
    try {
      await this.#checkpoint.write();
      await this.#store.release();
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'last checkpoint not written');
    }
  }

  #end(reason: string): void {
    this.#stopped = true;
    this.#thread.noMore();
    this.#cancelTimer();
    this.verdicts.stop();
    this.#context.storm.forget(this.id);
    this.#stream?.end(reason);
    this.#stream = undefined;
  }

  #lose(reason: string): void {
    if (this.#stopped) return;
    this.#log.warn({ reason }, 'shard lost');
    this.#end(reason);
    void this.#task.stop();
    this.#context.onLost(this);
  }

  async #fill(task: ShardTaskHandle, records: ShardRecords): Promise<void> {
    this.#probePort = await task.ready;
    this.#path ??= await this.#store.readPath();
    if (this.#path) task.send({ type: 'path', path: this.#path });
    const checkpoint = await this.#store.readCheckpoint();
    task.send({ type: 'lease', ...this.#lease.ownership });
    await loadSas({ ...this.#context, log: this.#log, store: this.#store, records, task }, checkpoint);
    this.#history = await this.#store.readHistory();
  }

  #hear(event: ShardEvent): void {
    switch (event.type) {
      case 'delegated':
        this.#stream?.delegatedProbes(event.handles, event.probeIds);
        break;
      case 'recovered':
        this.verdicts.recovered(event.recoveries);
        break;
      case 'outcomes':
        this.#context.storm.outcomes(this.id, event.outcomes);
        break;
      case 'abandoned':
        for (const spi of tellAbandoned(this.#log, this.records, event)) this.#abandoned.add(spi);
        break;
      case 'verdicts':
        this.verdicts.judge(event.rows);
        break;
    }
  }

  #threadDied(): void {
    this.#context.storm.forget(this.id);
    this.#checkpoint.died();
    // Handles will be new, and peers that seemed dead suspected anew.
    this.verdicts.held.dropAll();
    // An SA told now would be new to the next thread, its message id with it.
    this.#stream?.end('shard restarted');
    this.#stream = undefined;
    this.#lease.left();
  }

  /** Waits for a step of a change, which is nothing worth if the thread died meanwhile. */
  #withThread<T>(step: Promise<T>): Promise<T> {
    return this.#thread.outlive(this.#unlessFenced(step));
  }

  /** Waits for what Redis may refuse. Whoever hears that the shard is another's stops at once, and not when he next renews. */
  async #unlessFenced<T>(step: Promise<T>): Promise<T> {
    try {
      return await step;
    } catch (error) {
      if (error instanceof FencedError) this.#lose(error.message);
      throw error;
    }
  }

  get #damaged(): boolean {
    return this.#repaired < this.#losses;
  }

  /** An SA that Redis has without its message id would pass for new when another takes the shard now. */
  #refuseWhileDamaged(): void {
    if (this.#damaged) throw new Error('Redis has lost the shard, and is being given it again');
  }

  async #keepHouse(): Promise<void> {
    this.verdicts.settleHeld();
    try {
      await this.#unlessFenced(this.#renew());
    } catch (error) {
      if (!this.#stopped) this.#log.warn({ reason: (error as Error).message }, 'checkpoint waits');
    }
  }

  async #renew(): Promise<void> {
    await this.#lease.renew(this.attended);
    this.#task.send({ type: 'lease', ...this.#lease.ownership });
    if (this.#damaged) await this.#repair();
    if (this.#abandoned.size > 0) await this.#leaveOut();
    if (++this.#round % LOOK_ROUNDS === 0) {
      this.#register();
      await this.look();
    }
    await this.#checkpoint.collect();
    await this.#checkpoint.write();
  }

  async #repair(): Promise<void> {
    // Of another loss meanwhile it is not known what it takes.
    const losses = this.#losses;
    this.#register();
    // Message ids first: an SA that the next owner finds without them would be asked with the wrong one.
    this.#checkpoint.startAnew();
    await this.#checkpoint.collect();
    await this.#checkpoint.write();
    await writeAgain({
      store: this.#store,
      records: this.records,
      task: this.#task,
      path: this.#path,
      verdicts: this.verdicts,
    });
    this.#repaired = losses;
    this.#log.warn({ sas: this.records.set.count, epoch: this.epoch }, 'written again');
  }

  /** In a Cluster the list of headends is elsewhere than the shard: it may be lost alone, and its master down alone. */
  #register(): void {
    registerHeadend(this.#context.store.redis, this.id.headend, this.shards).catch((error: Error) =>
      this.#log.warn({ reason: error.message }, 'headend not noted'),
    );
  }

  /** Forgets SAs that are not watched any more. Their headend finds them lost when it comes back, and rekeys them. */
  async #leaveOut(): Promise<void> {
    const spis = [...this.#abandoned];
    for (let n = 0; n < spis.length; n += REMOVED) await this.remove(spis.slice(n, n + REMOVED).map(spiFromHex));
    for (const spi of spis) this.#abandoned.delete(spi);
    this.#stream?.end('SAs were left out, as they cannot be watched any more');
  }

  /** Tells failover workers how the SAs fare that took over from dead ones. */
  async #answerAsked(): Promise<void> {
    const asked = (await this.#store.readAsked()).filter((spi) => this.records.findHex(spi) >= 0);
    if (asked.length === 0) return;
    const statuses = await this.statuses(asked.map((spi) => this.records.findHex(spi)));
    await this.#store.tell(
      Object.fromEntries(
        asked.map((spi, n) => {
          const { state, proven } = statuses[n]!;
          return [spi, state === State.DEAD ? 'DEAD' : proven ? 'ALIVE' : 'HELD'] as const;
        }),
      ),
    );
  }
}
