/**
 * The shards of a node: opened for a headend's stream, yielded to another node that has it now, drained before the node stops.
 */

import { RivalError } from '../../../workers/base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Bus, Claim, ClusterMessage } from '../../store/cluster/bus.ts';
import { readShards } from '../../store/cluster/directory.ts';
import type { Member } from '../../store/cluster/members.ts';
import { type ShardId, shardKeys } from '../../store/keys.ts';
import { readLease } from '../../store/shard/lease.ts';
import { HostedShard, type HostedShardContext } from '../shard/hosted-shard.ts';

/** Longest wait for a former owner to write its checkpoint, ms. */
const YIELD_MS = 400;
const YIELD_POLL_MS = 10;
const DRAIN_POLL_MS = 50;
/** A claim without a headend: shards that the node had before it was restarted. */
const NO_CLAIM: Claim = { instance: '', takeOver: false };
/** A shard without SAs and without its headend is forgotten after this, ms. It may be opened again at any time. */
const FORGET_MS = 60_000;
const FORGET_LOOK_MS = 5_000;
/** Long enough for a message to arrive, ms. */
const MESSAGE_MS = 100;

export type ShardsContext = Omit<HostedShardContext, 'probe' | 'onLost'> & {
  readonly bus: Bus;
  readonly probeAddress: string;
  /** undefined: no probes by IPv6. */
  readonly probeAddress6: string | undefined;
  /** UDP port of shard 0; 0: any. */
  readonly probePortBase: number;
  readonly maxPeers: number;
  /** Nodes that live, this one among them. */
  readonly members: () => readonly Member[];
};

export class Shards {
  readonly #context: ShardsContext;
  readonly #log: Logger;
  readonly #hosts = new Map<string, HostedShard>();
  /** Shards being opened or given up: other requests for them wait. */
  readonly #changing = new Map<string, Promise<unknown>>();
  readonly #portsInUse = new Set<number>();
  /** Shards requested from other nodes. The value is the address of the process that the owner keeps the shard for, once it says so. */
  readonly #asked = new Map<string, string | undefined>();
  /** Since when shards have had neither SAs nor a headend, ms on the clock. */
  readonly #emptySince = new Map<HostedShard, number>();
  #cancelForgetting: () => void = () => {};
  #closing = false;

  constructor(context: ShardsContext) {
    this.#context = context;
    this.#log = context.log;
  }

  hosted(): HostedShard[] {
    return [...this.#hosts.values()];
  }

  /** Shards of a headend hosted here, in order. */
  of(headend: string): HostedShard[] {
    return this.hosted()
      .filter((host) => host.id.headend === headend)
      .sort((a, b) => a.id.shard - b.id.shard);
  }

  /** A shard, if it is hosted here. */
  at(id: ShardId): HostedShard | undefined {
    return this.#hosts.get(name(id));
  }

  /** SAs held here. */
  get peers(): number {
    return this.hosted().reduce((sum, host) => sum + host.records.set.count, 0);
  }

  /**
   * Takes the shards with SAs that this node had before it was restarted: the headend's rules may still bring answers here. And forgets
   * empty shards from now on.
   */
  async start(): Promise<void> {
    const { store, clock } = this.#context;
    const { redis, node, refused } = store;
    for (const { id, shards, lease } of await readShards(redis, refused))
      if (lease?.node === node && (await redis.hlen(shardKeys(id).sas)) > 0) await this.open(id, shards, NO_CLAIM);
    this.#cancelForgetting = clock.every(FORGET_LOOK_MS, () => this.#forgetEmpty());
  }

  /**
   * Makes the shard this node's, whichever node had it.
   * @throws RivalError if its owner has it for another process of the headend's
   */
  async open(id: ShardId, shards: number, claim: Claim): Promise<HostedShard> {
    const key = name(id);
    for (;;) {
      const hosted = this.#hosts.get(key);
      if (hosted) return hosted;
      const changing = this.#changing.get(key);
      if (!changing) return this.#change(key, () => this.#open(key, id, shards, claim));
      await changing.catch(() => {});
    }
  }

  /** Another node called. */
  onMessage(message: ClusterMessage): void {
    if (message.type === 'kept') {
      const asked = `${name(message)} ${message.epoch}`;
      if (this.#asked.has(asked)) this.#asked.set(asked, message.address);
      return;
    }
    const host = this.#hosts.get(name(message));
    if (!host) return;
    if (message.type === 'acknowledged') host.events?.answeredElsewhere(message.verdictId, message.outcome);
    else if (message.type === 'look') void host.look();
    else if (message.type === 'yield' && message.epoch === String(host.epoch)) this.#yield(host, message);
  }

  #yield(host: HostedShard, { to, claim, epoch }: Extract<ClusterMessage, { type: 'yield' }>): void {
    const rival = host.rivalOf(claim);
    if (rival === undefined) void this.giveUp(host, `moved to node ${to}`);
    else this.#context.bus.publish({ type: 'kept', ...host.id, epoch, address: rival });
  }

  /** Lets a shard go, its checkpoint written and its lease given back. */
  async giveUp(host: HostedShard, reason: string): Promise<void> {
    const key = name(host.id);
    if (this.#hosts.get(key) !== host) return;
    await this.#change(key, async () => {
      try {
        await host.stop(reason);
      } finally {
        this.#gone(key, host);
      }
    });
  }

  /** Asks headends to take their shards elsewhere and waits until they have, at most `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    const { clock, members, store } = this.#context;
    for (const host of this.hosted()) host.drain(graceMs);
    await clock.sleep(Math.min(MESSAGE_MS, graceMs));
    const elsewhere = () => members().some(({ id, draining }) => id !== store.node && !draining);
    const deadline = clock.now() + graceMs;
    while (elsewhere() && this.hosted().some((host) => host.headendConnected) && clock.now() < deadline)
      await clock.sleep(DRAIN_POLL_MS);
    // No headend asks for these: any node may adopt them.
    await Promise.all(
      this.hosted()
        .filter((host) => !host.headendConnected)
        .map((host) => this.giveUp(host, 'node drains')),
    );
  }

  #forgetEmpty(): void {
    const now = this.#context.clock.now();
    for (const host of this.hosted()) {
      const { headendConnected, records, verdicts } = host;
      const empty = !headendConnected && records.set.count === 0 && verdicts.waiting === 0;
      if (!empty) this.#emptySince.delete(host);
      else if (!this.#emptySince.has(host)) this.#emptySince.set(host, now);
      else if (now - this.#emptySince.get(host)! >= FORGET_MS) {
        this.#log.info({ ...host.id }, 'empty shard forgotten');
        this.giveUp(host, 'it has no SAs').catch((error: Error) =>
          this.#log.warn({ ...host.id, reason: error.message }, 'empty shard not given back'),
        );
      }
    }
  }

  /** Lets every shard go. */
  async stop(): Promise<void> {
    this.#closing = true;
    this.#cancelForgetting();
    await Promise.all(this.#changing.values()).catch(() => {});
    await Promise.all(this.hosted().map((host) => this.giveUp(host, 'node is stopping')));
  }

  async #open(key: string, id: ShardId, shards: number, claim: Claim): Promise<HostedShard> {
    if (this.#closing) throw new Error('this node is about to stop');
    await this.#askForYield(id, claim);
    const port = this.#allocatePort(id.shard);
    try {
      const host: HostedShard = await HostedShard.open(
        {
          ...this.#context,
          probe: {
            address: this.#context.probeAddress,
            address6: this.#context.probeAddress6,
            port,
            shard: id.shard,
          },
          onLost: (lost) => this.#gone(key, lost),
        },
        id,
        shards,
      );
      this.#hosts.set(key, host);
      return host;
    } catch (error) {
      this.#portsInUse.delete(port);
      throw error;
    }
  }

  /**
   * A former owner that lives writes its checkpoint first: then the new one knows the message ids exactly, and need not wait.
   * A former owner that does not answer may still live.
   */
  async #askForYield(id: ShardId, claim: Claim): Promise<void> {
    const { store, bus, clock } = this.#context;
    const lease = await readLease(store.redis, id, store.refused);
    if (!lease?.valid || lease.node === store.node) return;
    const epoch = String(lease.epoch);
    const asked = `${name(id)} ${epoch}`;
    this.#asked.set(asked, undefined);
    bus.publish({ type: 'yield', ...id, epoch, to: store.node, claim });
    const deadline = clock.now() + YIELD_MS;
    try {
      while (clock.now() < deadline) {
        await clock.sleep(YIELD_POLL_MS);
        const rival = this.#asked.get(asked);
        if (rival !== undefined) throw new RivalError(rival);
        const now = await readLease(store.redis, id, store.refused);
        if (!now?.valid || now.epoch !== lease.epoch) return;
      }
    } finally {
      this.#asked.delete(asked);
    }
    this.#log.info({ ...id, from: lease.node }, 'former owner did not answer');
  }

  async #change<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#changing.get(key);
    const changing = (async () => {
      await before?.catch(() => {});
      return work();
    })();
    this.#changing.set(key, changing);
    try {
      return await changing;
    } finally {
      if (this.#changing.get(key) === changing) this.#changing.delete(key);
    }
  }

  #gone(key: string, host: HostedShard): void {
    this.#emptySince.delete(host);
    if (this.#hosts.get(key) === host) this.#hosts.delete(key);
    this.#portsInUse.delete(host.probePort);
  }

  /**
   * The port that the shard always had, if it is free, because the headend's rules name it; any port if the base is 0.
   */
  #allocatePort(shard: number): number {
    const base = this.#context.probePortBase;
    if (base === 0) return 0;
    let port = base + shard;
    while (this.#portsInUse.has(port)) port++;
    this.#portsInUse.add(port);
    return port;
  }
}

function name({ headend, shard }: ShardId): string {
  return `${headend}/${shard}`;
}
