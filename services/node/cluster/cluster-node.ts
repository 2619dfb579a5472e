/**
 * A node in its cluster: its shards, its membership, and the requests of headends. It is given clock, store, bus and a way to
 * start tasks, so that a simulator runs the same code as a node.
 */

import { status } from '@grpc/grpc-js';
import pLimit from 'p-limit';
import type { Hello } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { Policy } from '../../../proto/gen/dpd/v1/types_pb.js';
import { Outcome, type VerdictAck } from '../../../proto/gen/dpd/v1/types_pb.js';
import { RivalError } from '../../../workers/base/errors.ts';
import { ApiError } from '../../api/grpc/errors.ts';
import type { Outages } from '../../base/seldom.ts';
import { seenThrough } from '../../failover/plan.ts';
import type { Bus, ClusterMessage } from '../../store/cluster/bus.ts';
import { type KnownShard, readHeadends, readShards, registerHeadend } from '../../store/cluster/directory.ts';
import type { Member } from '../../store/cluster/members.ts';
import type { ShardId } from '../../store/keys.ts';
import type { OnRefused } from '../../store/record.ts';
import { acknowledgeVerdicts } from '../../store/shard/acknowledgement.ts';
import type { HostedShard, Neighbour, ShardStream } from '../shard/hosted-shard.ts';
import { Membership } from './membership.ts';
import { Shards, type ShardsContext } from './shards.ts';

const LARGE_AT_ONCE = 2;

export type ClusterNodeContext = Omit<ShardsContext, 'members' | 'bus'> & {
  /** Shards on this node at most: each takes a place on a thread. */
  readonly maxShards: number;
  /** SAs of one headend on this node at most. */
  readonly headendPeers: number;
  /** What all headends' policies stand above. */
  readonly defaultPolicy: Policy | undefined;
  readonly joinBus: (onMessage: (message: ClusterMessage) => void) => Promise<Bus>;
  /** Peers may be on loopback. */
  readonly loopback: boolean;
  /** Where agents reach this node. */
  readonly advertised: () => string;
  /** Addresses that headends steer replies to; '' if the headends are configured with them. */
  readonly probeAdvertised: { readonly v4: string; readonly v6: string };
};

export class ClusterNode {
  readonly id: string;
  readonly shards: Shards;
  readonly membership: Membership;
  readonly bus: Bus;
  /** Verdicts whose acknowledgement here ended their failover. */
  seenThrough = 0;
  readonly #context: ClusterNodeContext;
  #draining = false;
  #stopping = false;

  private constructor(context: ClusterNodeContext, bus: Bus) {
    this.id = context.store.node;
    this.bus = bus;
    this.#context = context;
    this.membership = new Membership(
      context.store,
      context.clock,
      () => this.#describe(),
      () => {
        for (const host of this.shards.hosted()) host.tellMembers(this.neighbours());
      },
    );
    this.shards = new Shards({ ...context, bus, members: () => this.membership.members });
  }

  /** Joins the bus and takes up the shards that this node had. {@link join} makes it known to others. */
  static async start(context: ClusterNodeContext): Promise<ClusterNode> {
    let node: ClusterNode | undefined;
    const bus = await context.joinBus((message) => {
      if (message.type === 'acknowledged') context.traces.acknowledged(message.verdictId, message.outcome);
      node?.shards.onMessage(message);
    });
    node = new ClusterNode(context, bus);
    await node.shards.start();
    return node;
  }

  /** The node can be reached: it becomes known to others. */
  async join(): Promise<void> {
    await this.membership.beatNow();
    this.membership.start();
  }

  /** Whether peers may be on loopback. */
  get loopback(): boolean {
    return this.#context.loopback;
  }

  /** The policy that all headends' own stand above. */
  get defaultPolicy(): Policy | undefined {
    return this.#context.defaultPolicy;
  }

  get probeAdvertised(): ClusterNodeContext['probeAdvertised'] {
    return this.#context.probeAdvertised;
  }

  /** Nodes that live, as headends are told. */
  neighbours(): Neighbour[] {
    return this.membership.members.map(({ id, address, draining }) => ({ id, address, draining }));
  }

  /** Whether the node gives its shards away, and takes none while there is another node. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Headends ever seen, with their number of shards. */
  headends(): Promise<Map<string, number>> {
    return readHeadends(this.#context.store.redis, this.refused);
  }

  /** Every shard there is, with its lease. */
  knownShards(): Promise<KnownShard[]> {
    return readShards(this.#context.store.redis, this.refused);
  }

  /** Told of what an outage of Redis holds up. */
  get outages(): Outages {
    return this.#context.outages;
  }

  /** Tells of a record in Redis that is none of ours. */
  get refused(): OnRefused {
    return this.#context.store.refused;
  }

  /** Makes the shard this node's and joins the stream to it. */
  async openShard(hello: Hello, stream: ShardStream): Promise<HostedShard> {
    const { headend, shard, shards } = hello;
    if (this.#stopping) throw new ApiError(status.UNAVAILABLE, 'this node is about to stop');
    const others = this.membership.members.some(({ id, draining }) => id !== this.id && !draining);
    if (this.#draining && others) throw new ApiError(status.UNAVAILABLE, 'this node gives its shards away');
    const here = this.shards.of(headend).some(({ id }) => id.shard === shard);
    if (!here && this.shards.hosted().length >= this.#context.maxShards)
      throw new ApiError(status.RESOURCE_EXHAUSTED, `${this.#context.maxShards} shards on this node already`);
    try {
      const registered = await registerHeadend(this.#context.store.redis, headend, shards);
      if (registered !== shards)
        throw new ApiError(
          status.FAILED_PRECONDITION,
          `hello.shards: ${shards}, but headend "${headend}" is registered with ${registered}`,
        );
      const host = await this.shards.open({ headend, shard }, shards, stream.claim);
      await host.attach(stream);
      return host;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      if (error instanceof RivalError)
        throw new ApiError(
          status.ALREADY_EXISTS,
          `headend "${headend}" is connected from ${error.address} already; this one is at ${stream.address}`,
        );
      this.#context.log.error({ headend, shard, reason: (error as Error).message }, 'shard not opened');
      throw new ApiError(status.UNAVAILABLE, `shard not opened: ${(error as Error).name}`);
    }
  }

  /**
   * Large requests of all streams are handled a few at a time. Decoded they are many times as large, and if all waited
   * for Redis, they would outlive the collector's young generation.
   */
  readonly limitLarge = pLimit(LARGE_AT_ONCE);

  /** Refuses SAs beyond the node's limits, for all or for one headend, with RESOURCE_EXHAUSTED. */
  admit(headend: string, more: number): void {
    const { maxPeers, headendPeers } = this.#context;
    const refuse = (limit: string) => {
      throw new ApiError(
        status.RESOURCE_EXHAUSTED,
        `upsert.sas: ${more} more would exceed the node's limit of ${limit}`,
      );
    };
    if (this.shards.peers + more > maxPeers) refuse(`${maxPeers} SAs`);
    const its = this.shards.of(headend).reduce((sum, { records }) => sum + records.set.count, 0);
    if (its + more > headendPeers) refuse(`${headendPeers} SAs of one headend`);
  }

  /**
   * Notes acknowledgements; a successful one ends its failover. Returns for each whether that attempt of the verdict was waiting
   * for one.
   */
  async acknowledge(id: ShardId, acks: readonly VerdictAck[]): Promise<boolean[]> {
    const answers = acks.map(({ verdictId, attempt, outcome, detail }) => ({
      verdictId,
      attempt,
      failed: seenThrough(outcome) ? undefined : detail || Outcome[outcome],
    }));
    const known = await acknowledgeVerdicts(this.#context.store.redis, id, answers);
    let failed = 0;
    const host = this.shards.at(id);
    acks.forEach((ack, n) => {
      if (!known[n]) return;
      const { verdictId, outcome } = ack;
      host?.events?.answered(ack);
      if (seenThrough(outcome)) this.seenThrough++;
      else failed++;
      host?.verdicts.acknowledged(verdictId, Outcome[outcome], seenThrough(outcome));
      // The suspicion's trace and the peer's history are with the shard's owner.
      const traced = this.#context.traces.acknowledged(verdictId, Outcome[outcome]);
      if (!traced || (!host && this.#context.noteEvents))
        this.bus.publish({ type: 'acknowledged', ...id, verdictId, outcome: Outcome[outcome] });
    });
    if (failed > 0) this.#context.wakeFailover(id, true);
    return known;
  }

  /** Gives the shards away and takes none, or takes some again. Returns how many are still here. */
  async setDraining(draining: boolean, graceMs: number): Promise<number> {
    this.#draining = draining;
    await this.membership.beatNow();
    if (draining) await this.shards.drain(graceMs);
    return this.shards.hosted().length;
  }

  /** Leaves: shards given away or given back, then out of the cluster. */
  async stop(graceMs: number): Promise<void> {
    await this.setDraining(true, graceMs);
    this.#stopping = true;
    await this.shards.stop();
    await this.membership.stop();
    this.bus.close();
  }

  #describe(): Member {
    return {
      id: this.id,
      address: this.#context.advertised(),
      draining: this.#draining,
      shards: this.shards.hosted().length,
      peers: this.shards.peers,
    };
  }
}
