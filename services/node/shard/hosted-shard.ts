/**
 * A shard as its node hosts it: the lease and state in Redis, the thread that watches, and, while the headend is
 * connected, the stream it speaks through. It outlives the stream: a shard whose headend is away is still watched.
 */

import type { LeftOut, UpsertSas } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { Action } from '../../../proto/gen/dpd/v1/types_pb.js';
import { always } from '../../../workers/base/always.ts';
import { FencedError, RivalError, ThreadTimeoutError } from '../../../workers/base/errors.ts';
import type { Vault } from '../../../workers/keys/vault.ts';
import type { RoundTripCounts } from '../../../workers/liveness/round-trips.ts';
import type { ShardPath } from '../../../workers/path/ways.ts';
import type { SaBytes } from '../../../workers/sa/sa-page.ts';
import type { ShardCounts } from '../../../workers/shard/counters.ts';
import type { Inventoried, PeerStatus } from '../../../workers/shard/protocol.ts';
import type { SpiPair } from '../../api/spi.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Outages } from '../../base/seldom.ts';
import type { Claim } from '../../store/cluster/bus.ts';
import { registerHeadend } from '../../store/cluster/directory.ts';
import type { ShardId } from '../../store/keys.ts';
import { LEASE_MS } from '../../store/shard/lease.ts';
import { ShardStore, type StoreContext } from '../../store/shard/shard-store.ts';
import type { SuspicionTraces } from '../../telemetry/traces.ts';
import { PeerEvents } from '../events/peer-events.ts';
import type { ShardRecords } from '../records/records.ts';
import type { Sites } from '../records/sites.ts';
import type { HoldSettings } from '../verdicts/held-verdicts.ts';
import type { StormGuard } from '../verdicts/storm-guard.ts';
import { VerdictDesk } from '../verdicts/verdict-desk.ts';
import { CheckpointKeeper } from './checkpoint-keeper.ts';
import { KeyRotation } from './key-rotation.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { MacRotation } from './mac-rotation.ts';
import { SaRegistrar } from './registrar.ts';
import { writeAgain } from './repair.ts';
import { loadSas, tellAbandoned } from './shard-loader.ts';
import type { ProbeFrom, ShardEvent, ShardTaskHandle, StartShardTask } from './shard-thread.ts';
import { ThreadKeeper } from './thread-keeper.ts';

/** How often the lease is renewed and a checkpoint written, ms. */
const HOUSEKEEPING_MS = 800;
always(3 * HOUSEKEEPING_MS <= LEASE_MS, 'two renewals in a row may fail');
/** Rounds of housekeeping between two listings of the headend, and between two checks for missed messages. */
const LOOK_ROUNDS = 5;
/** Longest wait for verdicts on their way into the log when the shard is given up, ms. */
const VERDICTS_MS = 1_000;

/** A node as it is described to headends. */
export type Neighbour = { readonly id: string; readonly address: string; readonly draining: boolean };

/** What a shard needs from its headend's stream. */
export type ShardStream = {
  /** Which process of the headend it is, as Hello says, and its address. */
  readonly claim: Claim;
  readonly address: string;
  /** @param verdicts a Verdicts message */
  verdicts(verdicts: Uint8Array): void;
  delegatedProbes(handles: Uint32Array, probeIds: Uint32Array): void;
  members(members: readonly Neighbour[]): void;
  /** The node will give the shard up after this time, ms. */
  drain(graceMs: number): void;
  /** The shard is no longer here. */
  end(reason: string): void;
};

/** The phase of a shard on this node. */
type Phase =
  /** Its SAs are on their way from Redis to the thread. */
  | { readonly name: 'opening' }
  /** All SAs are watched, and Redis has all state of this node. */
  | { readonly name: 'watching' }
  /** Redis has lost some of that state, and it is written again; `lostAgain`: Redis has lost more since the repair began. */
  | { readonly name: 'repairing'; readonly lostAgain: boolean }
  /** The shard is given up, or lost. */
  | { readonly name: 'ended' };

export type HostedShardContext = {
  readonly store: StoreContext;
  readonly startTask: StartShardTask;
  readonly clock: Clock;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
  /** Told of what an outage of Redis holds up. */
  readonly outages: Outages;
  readonly sites: Sites;
  readonly storm: StormGuard;
  readonly hold: HoldSettings;
  readonly vault: Vault;
  /** What happens to peers is noted in Redis, and told. */
  readonly noteEvents?: boolean;
  /** The shard has open failovers; one of them is due `now`. */
  readonly wakeFailover: (id: ShardId, now?: boolean) => void;
  readonly probe: ProbeFrom;
  /** The host has ended by itself: it lost the shard to another node. */
  readonly onLost: (host: HostedShard) => void;
};

export class HostedShard {
  readonly id: ShardId;
  readonly shards: number;
  /** The shard's verdicts: held back, waiting for Redis, or on their way to the headend. */
  readonly verdicts: VerdictDesk;
  /** What happens to its peers; undefined in a simulation. */
  readonly events: PeerEvents | undefined;
  readonly #context: HostedShardContext;
  readonly #store: ShardStore;
  readonly #log: Logger;
  readonly #lease: LeaseKeeper;
  readonly #checkpoint: CheckpointKeeper;
  readonly #thread: ThreadKeeper;
  /** SAs that the headend reports as not handed to the cluster. */
  leftOut: Pick<LeftOut, 'sas' | 'total'> = { sas: [], total: 0 };
  #probePort = 0;
  #stream: ShardStream | undefined;
  #path: ShardPath | undefined;
  #cancelTimer: () => void = () => {};
  #housekeeping: Promise<void> | undefined;
  readonly #rotation: KeyRotation;
  readonly #macRotation: MacRotation;
  #round = 0;
  readonly #registrar: SaRegistrar;
  #phase: Phase = { name: 'opening' };

  private constructor(context: HostedShardContext, id: ShardId, shards: number, store: ShardStore, takenAt: number) {
    this.id = id;
    this.shards = shards;
    this.#context = context;
    this.#store = store;
    this.#log = context.log.child({ ...id });
    this.#lease = new LeaseKeeper(store, context.clock, takenAt, {
      lostWrites: (error) => {
        this.#log.error({ reason: error.message }, 'Redis lost what was written: it is written again');
        this.#lostWrites();
      },
    });
    this.#rotation = new KeyRotation(id, store, context.vault, this.#log);
    this.#macRotation = new MacRotation(store, context.store.mac, this.#log);
    this.#checkpoint = new CheckpointKeeper(store, context.clock, this.#lease);
    this.#thread = new ThreadKeeper(
      { ...context, log: this.#log, startTask: (onEvent) => context.startTask(context.probe, onEvent) },
      {
        wanted: () => !this.#ended,
        // The last checkpoint of a thread that died, if it could not be written to Redis yet.
        prepare: () => this.#checkpoint.write(),
        fill: (task, records) => this.#fill(task, records),
        filled: (task) => {
          this.#checkpoint.watch(task);
          const { epoch, probePort } = this;
          this.#log.info({ epoch, sas: this.records.set.count, probePort }, 'shard watched');
        },
        onEvent: (event) => this.#onEvent(event),
        died: () => this.#threadDied(),
        fenced: (reason) => this.#abort(reason),
      },
    );
    this.events = context.noteEvents
      ? new PeerEvents({
          id,
          clock: context.clock,
          records: () => this.records,
          trace: (handles, on) => this.#task.send({ type: 'trace', handles, on }),
          write: (events) => store.noteEvents(events, context.clock.wall()),
        })
      : undefined;
    this.verdicts = new VerdictDesk(
      { ...context, id, store, redis: context.store.redis, log: this.#log },
      {
        records: () => this.records,
        hold: (handles) => this.#task.send({ type: 'hold', handles }),
        endHold: (handles, asked) => this.#task.send({ type: 'endHold', handles, asked }),
        deliver: (verdicts) => this.#stream?.verdicts(verdicts),
        logged: () => context.wakeFailover(id),
        events: this.events,
        fenced: () => this.#abort('lease taken by another node'),
      },
    );
    this.#registrar = new SaRegistrar({
      store,
      redis: context.store.redis,
      sites: context.sites,
      thread: this.#thread,
      refuse: () => this.#refuseWhileDamaged(),
      unlessFenced: (step) => this.#unlessFenced(step),
      removed: (handle, spi) => this.verdicts.removed(handle, spi),
    });
  }

  /** Takes the shard's lease, loads it from Redis and starts watching. */
  static async open(context: HostedShardContext, id: ShardId, shards: number): Promise<HostedShard> {
    const takenAt = context.clock.now();
    const store = await ShardStore.take(context.store, id);
    const host = new HostedShard(context, id, shards, store, takenAt);
    host.#cancelTimer = context.clock.every(HOUSEKEEPING_MS, () => {
      if (host.#phase.name === 'opening') return;
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
    host.#phase = { name: 'watching' };
    host.#rotation.begin();
    host.#macRotation.begin();
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

  /** UDP port that the shard probes from. */
  get probePort(): number {
    return this.#probePort;
  }

  /** Whether a headend is connected. */
  get headendConnected(): boolean {
    return this.#stream !== undefined;
  }

  /** Address of another process that speaks for the headend, and that this one may not replace; undefined if there is none. */
  rivalOf({ instance, takeOver }: Claim): string | undefined {
    const present = this.#stream?.claim.instance;
    return takeOver || !instance || !present || present === instance ? undefined : this.#stream!.address;
  }

  /**
   * Joins the headend's stream, ending an older one. Rejects if the shard turns out to be another node's. Without Redis this is
   * not known; then the headend's rules decide.
   * @throws RivalError if another process speaks for the headend
   */
  async attach(stream: ShardStream): Promise<void> {
    this.#refuseRival(stream.claim);
    do {
      await this.#thread.replaced;
      if (!this.#ended) await this.#lookWhoOwns();
      if (this.#ended) throw new Error('the shard has just moved');
      // The thread may have died meanwhile, and its SAs may not be loaded again yet.
    } while (this.#thread.replaced);
    this.#refuseRival(stream.claim);
    if (this.#stream && stream.claim.takeOver && this.#stream.claim.instance !== stream.claim.instance)
      this.#log.warn({ from: this.#stream.address, to: stream.address }, 'another process speaks for the headend now');
    this.#stream?.end('a newer stream for this shard took over');
    this.#stream = stream;
    this.verdicts.newStream();
    this.#task.send({ type: 'headend', present: true });
  }

  #refuseRival(claim: Claim): void {
    const rival = this.rivalOf(claim);
    if (rival !== undefined) throw new RivalError(rival);
  }

  /** The stream ended. The headend's vouchers soon run out. */
  detach(stream: ShardStream): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#task.send({ type: 'headend', present: false });
  }

  async #lookWhoOwns(): Promise<void> {
    try {
      await this.#unlessFenced(this.#lease.renew(true));
    } catch (error) {
      if (!this.#ended) this.#log.warn({ reason: (error as Error).message }, 'headend comes while Redis is away');
    }
  }

  /** Tells the headend which nodes live. */
  tellMembers(members: readonly Neighbour[]): void {
    this.#stream?.members(members);
  }

  /** Has SAs watched: see {@link SaRegistrar.upsert}. */
  upsert(sas: UpsertSas['sas'], bytes: readonly SaBytes[]): Promise<number[]> {
    return this.#registrar.upsert(sas, bytes);
  }

  /** Forgets SAs: see {@link SaRegistrar.remove}. */
  remove(ids: readonly SpiPair[]): Promise<number[]> {
    return this.#registrar.remove(ids);
  }

  evidence(heard: readonly number[], sent: readonly number[], ageMs: number): void {
    const heardHandles = new Uint32Array(heard);
    const sentHandles = new Uint32Array(sent);
    // A thread that is stalled at this moment must not take it for fresh evidence when it goes on.
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

  /** The vault has other keys. */
  vaultChanged(): void {
    this.#task.send({ type: 'vaultKeys', keys: this.#context.vault.keys });
    this.#rotation.begin();
  }

  /** Records are made with other keys. */
  clusterKeysChanged(): void {
    this.#macRotation.begin();
  }

  /** Everything that is counted of the shard. Rejects if its thread does not answer. */
  async counts(): Promise<ShardCounts> {
    const counts = await this.#task.ask('counters');
    const { held, waiting } = this.verdicts;
    return {
      ...counts,
      verdictsHeld: held.counters.held,
      holdsCancelled: held.counters.cancelled,
      holdsReleased: held.counters.released,
      holdsDropped: held.counters.dropped,
      verdictsWaiting: waiting,
      verdictsHeldNow: held.count,
      leftOut: this.leftOut.total,
    };
  }

  /** Round trips of all its peers. Rejects if its thread does not answer. */
  roundTrips(): Promise<RoundTripCounts> {
    return this.#task.ask('roundTrips');
  }

  /** What the thread knows of SAs, for a headend that continues with them. */
  inventoried(handles: readonly number[]): Promise<Inventoried> {
    return this.#task.ask('inventory', handles);
  }

  /** Has SAs deleted, as an operator wants. Returns how many got a verdict. */
  async clear(handles: readonly number[], action: Action): Promise<number> {
    return (await this.#task.ask('clear', handles, { action })).cleared;
  }

  statuses(handles: readonly number[]): Promise<readonly PeerStatus[]> {
    return this.#task.ask('query', handles);
  }

  /** Another node reported verdicts to deliver: delivers them. Never rejects. */
  async look(): Promise<void> {
    try {
      if (this.#stream) await this.verdicts.deliverAgain();
      // A message to the workers may have been lost.
      if (await this.#store.hasFailovers()) this.#context.wakeFailover(this.id);
    } catch (error) {
      this.#context.outages.warn({ ...this.id, reason: (error as Error).message }, 'not looked');
    }
  }

  /** Tells the headend that the shard is about to move. */
  drain(graceMs: number): void {
    this.#stream?.drain(graceMs);
  }

  /** Stops watching, writes the last checkpoint and gives the lease back. */
  async stop(reason: string): Promise<void> {
    if (this.#ended) return;
    this.#phase = { name: 'ended' };
    this.#cancelTimer();
    await this.#housekeeping;
    await this.#checkpoint.collectLast(this.#task);
    await this.verdicts.finish(VERDICTS_MS);
    await this.events?.write();
    this.#end(reason);
    try {
      await this.#checkpoint.write();
      await this.#store.release();
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'last checkpoint not written');
    }
  }

  #end(reason: string): void {
    this.#phase = { name: 'ended' };
    this.#thread.noMore();
    this.#cancelTimer();
    this.verdicts.stop();
    this.#context.storm.forget(this.id);
    this.#stream?.end(reason);
    this.#stream = undefined;
  }

  #abort(reason: string): void {
    if (this.#ended) return;
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
    await loadSas({ ...this.#context, log: this.#log, store: this.#store, records, task }, checkpoint);
  }

  #onEvent(event: ShardEvent): void {
    switch (event.type) {
      case 'delegated':
        this.#stream?.delegatedProbes(event.handles, event.probeIds);
        break;
      case 'translating':
        void this.#noteTranslated(event);
        break;
      case 'recovered':
        this.verdicts.recovered(event.recoveries);
        break;
      case 'traced':
        this.events?.traced(event.events);
        break;
      case 'outcomes':
        this.#context.storm.outcomes(this.id, event.outcomes);
        break;
      case 'abandoned':
        this.#registrar.abandon(tellAbandoned(this.#log, this.records, event));
        break;
      case 'verdicts':
        this.verdicts.judge(event.rows);
        break;
    }
  }

  /**
   * Writes the id of a request of the headend's daemon to Redis before the request is sent. Without Redis the thread does not wait
   * for long.
   */
  async #noteTranslated(event: Extract<ShardEvent, { type: 'translating' }>): Promise<void> {
    const { handle, daemonId } = event;
    const task = this.#task;
    try {
      await this.#unlessFenced(this.#store.noteTranslated(this.records.spi(handle), event));
      if (task === this.#task) task.send({ type: 'noted', handle, daemonId });
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'id of a request of the headend not noted');
    }
  }

  #threadDied(): void {
    this.#context.storm.forget(this.id);
    this.#checkpoint.died();
    // Handles will be new, and peers that seemed dead are suspected anew.
    this.verdicts.held.dropAll();
    // An SA registered now would be new to the next thread, with the headend's message id.
    this.#stream?.end('shard restarted');
    this.#stream = undefined;
  }

  /**
   * Waits for a write that Redis may refuse. If the shard turns out to be another node's, this node stops at once, and not at
   * the next renewal.
   */
  async #unlessFenced<T>(step: Promise<T>): Promise<T> {
    try {
      return await step;
    } catch (error) {
      if (error instanceof FencedError) this.#abort(error.message);
      throw error;
    }
  }

  get #ended(): boolean {
    return this.#phase.name === 'ended';
  }

  #lostWrites(): void {
    if (this.#ended) return;
    this.#phase = { name: 'repairing', lostAgain: this.#phase.name === 'repairing' };
  }

  /** If another node took the shard now, an SA without its message id in Redis would look new. */
  #refuseWhileDamaged(): void {
    if (this.#phase.name === 'repairing') throw new Error('Redis has lost the shard, and is being given it again');
  }

  async #keepHouse(): Promise<void> {
    this.verdicts.sweepHeld();
    try {
      await this.#unlessFenced(this.#renew());
    } catch (error) {
      if (error instanceof ThreadTimeoutError) this.#thread.silent();
      if (!this.#ended)
        this.#context.outages.warn({ ...this.id, reason: (error as Error).message }, 'checkpoint waits');
    }
  }

  async #renew(): Promise<void> {
    await this.#lease.renew(this.headendConnected);
    if (this.#phase.name === 'repairing') await this.#repair();
    if ((await this.#registrar.leaveOut()) > 0)
      this.#stream?.end('SAs were left out, as they cannot be watched any more');
    if (++this.#round % LOOK_ROUNDS === 0) {
      this.#register();
      this.events?.traceAgain();
      await this.look();
    }
    await this.#checkpoint.collect();
    this.#thread.answered();
    await this.#checkpoint.write();
    await this.events?.write();
    if (this.#phase.name !== 'watching') return;
    await this.#rotation.round();
    await this.#macRotation.round();
  }

  async #repair(): Promise<void> {
    this.#phase = { name: 'repairing', lostAgain: false };
    this.#register();
    // Message ids first: the next owner would probe an SA without its id in Redis with a wrong one.
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
    // After another loss meanwhile it is not known what is missing: the next round repairs it.
    if (this.#phase.name === 'repairing' && !this.#phase.lostAgain) this.#phase = { name: 'watching' };
    this.#log.warn({ sas: this.records.set.count, epoch: this.epoch }, 'written again');
  }

  /** In a Cluster the list of headends is elsewhere than the shard: it may be lost alone, and its master down alone. */
  #register(): void {
    registerHeadend(this.#context.store.redis, this.id.headend, this.shards).catch((error: Error) =>
      this.#context.outages.warn({ ...this.id, reason: error.message }, 'headend not noted'),
    );
  }
}
