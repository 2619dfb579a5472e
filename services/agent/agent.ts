/** An agent: one data plane, one uplink a shard, and what passes between them. */

import type { Sa } from '../../proto/gen/dpd/v1/types_pb.js';
import { shardOf } from '../api/spi.ts';
import { checkSa } from '../api/validation.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { AgentSide, DataPlane, PathState } from './headend/headend.ts';
import { Placement } from './placement.ts';
import { ShardUplink, type StreamOpener } from './uplink.ts';
import { VerdictInbox } from './verdict-inbox.ts';

/** How often shards that should be elsewhere are looked for, ms. */
const REBALANCE_MS = 500;
/** Nodes must have been the same for so long before shards are spread evenly over them, ms. */
const SETTLED_MS = 3_000;

export type AgentSettings = {
  readonly headend: string;
  /** Shards of this headend, a power of two. */
  readonly shards: number;
  /** Nodes to begin with; they tell of the others. */
  readonly addresses: readonly string[];
};

/** The agent's surroundings. */
export type AgentContext = {
  readonly channels: { readonly open: StreamOpener; close(): void };
  readonly log: Logger;
  readonly clock?: Clock;
  /** In [0, 1), for backoff. */
  readonly random?: () => number;
};

export class Agent implements AgentSide {
  readonly #dataPlane: DataPlane;
  readonly #uplinks: readonly ShardUplink[];
  readonly #placement: Placement;
  readonly #shards: number;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #channels: AgentContext['channels'];
  readonly #cancelRebalance: () => void;
  #nodesChangedAt: number;

  /** Connects every shard; start() the data plane with it. */
  constructor(settings: AgentSettings, dataPlane: DataPlane, context: AgentContext) {
    const { headend, shards, addresses } = settings;
    const { log, channels, clock = systemClock, random = Math.random } = context;
    this.#dataPlane = dataPlane;
    this.#shards = shards;
    this.#log = log;
    this.#clock = clock;
    this.#channels = channels;
    this.#placement = new Placement(headend, shards, addresses, () => clock.now());
    this.#nodesChangedAt = clock.now();
    const inbox = new VerdictInbox(dataPlane, log, (verdict, { outcome, detail, successor }) =>
      this.#uplinks[verdict.shard]!.acknowledge({
        verdictId: verdict.id,
        attempt: verdict.attempt,
        outcome,
        detail,
        ...(successor && { successor }),
      }),
    );
    this.#uplinks = Array.from(
      { length: shards },
      (_, shard) =>
        new ShardUplink(
          { headend, shard, shards },
          {
            choose: () => this.#placement.choose(shard),
            failed: (address) => this.#placement.failed(shard, address),
            members: (members) => {
              if (this.#placement.learn(members)) this.#nodesChangedAt = clock.now();
            },
            connected: (address, probe, held) => {
              this.#placement.connected(address);
              dataPlane.connected(shard, probe, held);
            },
            held: (spis) => dataPlane.held(spis),
            lost: (spis) => {
              log.error({ shard, sas: spis.length }, 'the cluster has lost SAs that it held');
              dataPlane.lost(spis);
            },
            released: (spi, mid) => dataPlane.released(spi, mid),
            disconnected: () => dataPlane.disconnected(shard),
            verdicts: (verdicts) => {
              for (const verdict of verdicts) inbox.take(verdict);
            },
            delegated: (probes) => {
              for (const { sa, answer } of probes)
                dataPlane.probe(sa).then(
                  (answered) => answered && answer(),
                  (error: Error) => log.warn({ peer: sa.peerId, reason: error.message }, 'delegated probe failed'),
                );
            },
          },
          { open: channels.open, log, clock, random },
        ),
    );
    this.#cancelRebalance = clock.every(REBALANCE_MS, () => this.#rebalance());
  }

  /** Everything the data plane has told is held by the cluster. */
  get settled(): boolean {
    return this.#uplinks.every((uplink) => uplink.settled);
  }

  /** Reconciliations that found a difference. */
  get repairs(): number {
    return this.#uplinks.reduce((sum, uplink) => sum + uplink.repairs, 0);
  }

  upsert(sa: Sa): void {
    // One SA that the node refuses would end the stream for all of its shard.
    const violations = sa.id ? checkSa(sa, shardOf(sa.id.responderSpi, this.#shards), this.#shards) : [];
    if (violations.length > 0 || !sa.id) {
      this.#log.error({ peer: sa.peerId, violations }, 'SA not registered');
      return;
    }
    this.#uplinkOf(sa.id!.responderSpi).upsert(sa);
  }

  remove(id: { initiatorSpi: bigint; responderSpi: bigint }): void {
    this.#uplinkOf(id.responderSpi).remove(id);
  }

  complete(): void {
    for (const uplink of this.#uplinks) uplink.complete();
  }

  evidence(heard: readonly string[], sent: readonly string[], ageMs: number): void {
    const split = (spis: readonly string[]) =>
      Map.groupBy(spis, (spi) => Number.parseInt(spi.slice(-2), 16) & (this.#shards - 1));
    const heardByShard = split(heard);
    const sentByShard = split(sent);
    this.#uplinks.forEach((uplink, shard) => {
      uplink.evidence(heardByShard.get(shard) ?? [], sentByShard.get(shard) ?? [], ageMs);
    });
  }

  path(shard: number, path: PathState): void {
    this.#uplinks[shard]!.path(path);
  }

  vouch(shard: number, canary: number): void {
    this.#uplinks[shard]!.vouch(canary);
  }

  /** Stops the data plane, then the streams, and closes the channels. */
  async stop(): Promise<void> {
    this.#cancelRebalance();
    await this.#dataPlane.stop();
    for (const uplink of this.#uplinks) uplink.stop();
    this.#channels.close();
  }

  /** One shard at a time: the next moves when this one is well again. */
  #rebalance(): void {
    if (!this.#uplinks.every((uplink) => uplink.connected)) return;
    const even = this.#clock.now() - this.#nodesChangedAt >= SETTLED_MS;
    const shard = this.#placement.next(even);
    if (shard !== undefined) this.#uplinks[shard]!.move();
  }

  #uplinkOf(responderSpi: bigint): ShardUplink {
    return this.#uplinks[shardOf(responderSpi, this.#shards)]!;
  }
}
