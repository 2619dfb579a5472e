/**
 * The shards of a node: opened for a headend's stream, yielded to another node that has it now, adopted when their
 * node died while the headend is away, drained before the node stops.
 */

import { VOUCHER_MS } from '../../../workers/path/canary.ts';
import type { Logger } from '../../base/log.ts';
import { rank } from '../../base/rendezvous.ts';
import type { Bus, Word } from '../../store/cluster/bus.ts';
import { countSas, readShards } from '../../store/cluster/directory.ts';
import type { Member } from '../../store/cluster/members.ts';
import type { ShardId } from '../../store/keys.ts';
import { ADOPT_ATTENDED_MS, readLease } from '../../store/shard/lease.ts';
import { type HostContext, ShardHost } from '../shard/hosted-shard.ts';

/** Longest wait for a former owner to write its checkpoint, ms. */
const YIELD_MS = 400;
const YIELD_POLL_MS = 10;
/** A shard without an owner is left to its own headend's stream for so long, ms. */
const ORPHAN_MS = 3_000;
const ADOPT_EVERY_MS = 1_000;
const DRAIN_POLL_MS = 50;
/** Long enough for a word to arrive, ms. */
const WORD_MS = 100;

export type ShardsContext = Omit<HostContext, 'probe' | 'onLost' | 'formerVouchedUntilMs'> & {
  readonly bus: Bus;
  readonly probeAddress: string;
  /** UDP port of shard 0; 0: any. */
  readonly probePortBase: number;
  readonly maxPeers: number;
  /** Nodes that live, this one among them. */
  readonly members: () => readonly Member[];
};

export class Shards {
  readonly #context: ShardsContext;
  readonly #log: Logger;
  readonly #hosts = new Map<string, ShardHost>();
  /** Shards being opened or given up: whoever wants one waits for that. */
  readonly #changing = new Map<string, Promise<unknown>>();
  readonly #portsInUse = new Set<number>();
  /** When each shard was first seen without an owner, ms on the clock. */
  readonly #orphans = new Map<string, number>();
  #cancelAdoption: () => void = () => {};
  #adopting = false;
  #closing = false;

  constructor(context: ShardsContext) {
    this.#context = context;
    this.#log = context.log;
  }

  hosts(): ShardHost[] {
    return [...this.#hosts.values()];
  }

  /** Shards of a headend hosted here, in order. */
  of(headend: string): ShardHost[] {
    return this.hosts()
      .filter((host) => host.id.headend === headend)
      .sort((a, b) => a.id.shard - b.id.shard);
  }

  /** SAs held here. */
  get peers(): number {
    return this.hosts().reduce((sum, host) => sum + host.records.set.count, 0);
  }

  /** Takes up what this node had before it was restarted, and from then on what nobody has. */
  async start(): Promise<void> {
    for (const { id, shards, lease } of await readShards(this.#context.store.redis))
      if (lease?.node === this.#context.store.node) await this.open(id, shards, false);
    this.#cancelAdoption = this.#context.clock.every(ADOPT_EVERY_MS, () => void this.#adopt());
  }

  /**
   * Makes the shard this node's, whoever had it.
   * @param attended for its headend, which is about to be connected
   */
  async open(id: ShardId, shards: number, attended: boolean): Promise<ShardHost> {
    const key = name(id);
    for (;;) {
      const hosted = this.#hosts.get(key);
      if (hosted) return hosted;
      const changing = this.#changing.get(key);
      if (!changing) return this.#change(key, () => this.#open(key, id, shards, attended));
      await changing.catch(() => {});
    }
  }

  /** Another node called. */
  hear(word: Word): void {
    const host = this.#hosts.get(name(word));
    if (!host) return;
    if (word.word === 'look') void host.look();
    else if (word.word === 'yield' && word.epoch === String(host.epoch))
      void this.giveUp(host, `moved to node ${word.to}`);
  }

  /** Lets a shard go, its checkpoint written and its lease given back. */
  async giveUp(host: ShardHost, reason: string): Promise<void> {
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
    for (const host of this.hosts()) host.drain(graceMs);
    await clock.sleep(Math.min(WORD_MS, graceMs));
    const elsewhere = () => members().some(({ id, draining }) => id !== store.node && !draining);
    const deadline = clock.now() + graceMs;
    while (elsewhere() && this.hosts().some((host) => host.attended) && clock.now() < deadline)
      await clock.sleep(DRAIN_POLL_MS);
    // Nobody asks for these: they are for whoever adopts them.
    await Promise.all(
      this.hosts()
        .filter((host) => !host.attended)
        .map((host) => this.giveUp(host, 'node drains')),
    );
  }

  /** Lets every shard go. */
  async stop(): Promise<void> {
    this.#closing = true;
    this.#cancelAdoption();
    await Promise.all(this.#changing.values()).catch(() => {});
    await Promise.all(this.hosts().map((host) => this.giveUp(host, 'node is stopping')));
  }

  async #open(key: string, id: ShardId, shards: number, attended: boolean): Promise<ShardHost> {
    if (this.#closing) throw new Error('this node is about to stop');
    // Its headend may have vouched for the former owner until a moment ago.
    const formerVouchedUntilMs = this.#context.clock.now() + VOUCHER_MS;
    await this.#askForYield(id);
    const port = this.#takePort(id.shard);
    try {
      const host: ShardHost = await ShardHost.open(
        {
          ...this.#context,
          probe: { address: this.#context.probeAddress, port },
          formerVouchedUntilMs,
          onLost: (lost) => this.#gone(key, lost),
        },
        id,
        shards,
        attended,
      );
      this.#hosts.set(key, host);
      this.#orphans.delete(key);
      return host;
    } catch (error) {
      this.#portsInUse.delete(port);
      throw error;
    }
  }

  /**
   * A former owner that lives writes its checkpoint first: then the new one knows the message ids exactly, and need not wait.
   * One that does not answer may live all the same.
   */
  async #askForYield(id: ShardId): Promise<void> {
    const { store, bus, clock } = this.#context;
    const lease = await readLease(store.redis, id);
    if (!lease?.valid || lease.node === store.node) return;
    bus.say({ word: 'yield', ...id, epoch: String(lease.epoch), to: store.node });
    const deadline = clock.now() + YIELD_MS;
    while (clock.now() < deadline) {
      await clock.sleep(YIELD_POLL_MS);
      const now = await readLease(store.redis, id);
      if (!now?.valid || now.epoch !== lease.epoch) return;
    }
    this.#log.info({ ...id, from: lease.node }, 'former owner did not answer');
  }

  async #adopt(): Promise<void> {
    const { clock, store, members, maxPeers } = this.#context;
    const candidates = members().filter(({ draining }) => !draining);
    if (this.#adopting || this.#closing || !candidates.some(({ id }) => id === store.node)) return;
    this.#adopting = true;
    try {
      // A node looks only after those that would be its own, and are not.
      const missing = (id: ShardId) =>
        !this.#hosts.has(name(id)) && rank(name(id), candidates, (member) => member.id)[0]!.id === store.node;
      for (const key of this.#orphans.keys()) if (this.#hosts.has(key)) this.#orphans.delete(key);
      for (const { id, shards, lease } of await readShards(store.redis, missing)) {
        const key = name(id);
        if (!lease || lease.valid || this.#hosts.has(key)) {
          this.#orphans.delete(key);
          continue;
        }
        const since = this.#orphans.get(key) ?? clock.now();
        this.#orphans.set(key, since);
        if (clock.now() - since < ORPHAN_MS) continue;
        // Its headend was connected: if it lives it comes by itself, and its owner may live without Redis.
        if (lease.attended && !lease.released && lease.expiredMs < ADOPT_ATTENDED_MS) continue;
        const sas = await countSas(store.redis, id);
        if (sas === 0 || this.peers + sas > maxPeers) continue;
        this.#log.warn({ ...id, from: lease.node, sas }, 'shard without an owner: adopted');
        await this.open(id, shards, false);
      }
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'shards without an owner not looked for');
    } finally {
      this.#adopting = false;
    }
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

  #gone(key: string, host: ShardHost): void {
    if (this.#hosts.get(key) === host) this.#hosts.delete(key);
    this.#portsInUse.delete(host.probePort);
  }

  /** The port a shard always had if it is free, for the headend's rules name it; any with a base of 0. */
  #takePort(shard: number): number {
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
