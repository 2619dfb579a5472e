/** An agent: one headend, one uplink a shard, and what passes between them. */

import type { Sa } from '../../proto/gen/dpd/v1/types_pb.js';
import { staysOnHost } from '../api/grpc/credentials.ts';
import { shardOf } from '../api/spi.ts';
import { checkSa } from '../api/validation.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Metric } from '../telemetry/metrics.ts';
import type { AgentSide, Headend, LeftOutSa, PathState } from './headend/headend.ts';
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
  /** The nodes to begin with; they name the others. */
  readonly addresses: readonly string[];
  /** See Hello.instance and Hello.take_over. */
  readonly instance?: string;
  readonly takeOver?: boolean;
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
  readonly #headend: Headend;
  readonly #uplinks: readonly ShardUplink[];
  readonly #placement: Placement;
  readonly #shards: number;
  /** The nodes are on this host, and accept peers on loopback. */
  readonly #loopback: boolean;
  readonly #clock: Clock;
  readonly #channels: AgentContext['channels'];
  readonly #cancelRebalance: () => void;
  #nodesChangedAt: number;

  /** Connects every shard; start() the headend with it. */
  constructor(settings: AgentSettings, headend: Headend, context: AgentContext) {
    const { headend: name, shards, addresses, instance = '', takeOver = false } = settings;
    const { log, channels, clock = systemClock, random = Math.random } = context;
    this.#headend = headend;
    this.#shards = shards;
    this.#loopback = addresses.every(staysOnHost);
    this.#clock = clock;
    this.#channels = channels;
    this.#placement = new Placement(name, shards, addresses, () => clock.now());
    this.#nodesChangedAt = clock.now();
    const inbox = new VerdictInbox(headend, log, (verdict, { outcome, detail, successor }) =>
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
          { headend: name, shard, shards, instance, takeOver },
          {
            choose: () => this.#placement.choose(shard),
            failed: (address) => this.#placement.failed(shard, address),
            members: (members) => {
              if (this.#placement.learn(members)) this.#nodesChangedAt = clock.now();
            },
            connected: (address, probe, held, common) => {
              this.#placement.connected(address);
              headend.connected(shard, probe, held, common);
            },
            held: (spis) => headend.held(spis),
            keysWanted: (spis) => headend.keysWanted(spis),
            released: (spi, mid) => headend.released(spi, mid),
            disconnected: () => headend.disconnected(shard),
            verdicts: (verdicts) =>
              this.#uplinks[shard]!.underWay(verdicts.filter((verdict) => !inbox.receive(verdict))),
            delegated: (probes) => {
              for (const { sa, answer } of probes)
                headend.probe(sa).then(
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

  /** The cluster holds everything that the headend has registered. */
  get settled(): boolean {
    return this.#uplinks.every((uplink) => uplink.settled);
  }

  /** Why the headend is not wholly in the cluster's care, or undefined if it is. */
  notReady(): string | undefined {
    const away = this.#uplinks.filter((uplink) => !uplink.connected).length;
    return away > 0 ? `${away} of ${this.#uplinks.length} shards are with no node` : undefined;
  }

  /** What is exported of the agent, as it is now. */
  metrics(): Metric[] {
    const connected = this.#uplinks.filter((uplink) => uplink.connected).length;
    const state = 'dpd.agent.shard.state';
    return [
      { name: 'dpd.agent.shards', value: connected, attributes: { [state]: 'connected' } },
      { name: 'dpd.agent.shards', value: this.#uplinks.length - connected, attributes: { [state]: 'away' } },
      { name: 'dpd.agent.sas', value: this.#uplinks.reduce((sum, { registration }) => sum + registration.count, 0) },
      { name: 'dpd.agent.repairs', value: this.repairs },
    ];
  }

  /** Reconciliations that found a difference. */
  get repairs(): number {
    return this.#uplinks.reduce((sum, uplink) => sum + uplink.repairs, 0);
  }

  upsert(sa: Sa, keysAtNode = false): string | undefined {
    // An SA that the node refuses would end the stream for the whole shard.
    const shard = shardOf(sa.id?.responderSpi ?? 0n, this.#shards);
    const [violation] = checkSa(sa, { shard, shards: this.#shards, loopback: this.#loopback });
    if (violation) return `${violation.field}: ${violation.description}`;
    this.#uplinkOf(sa.id!.responderSpi).upsert(sa, keysAtNode);
    return undefined;
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

  leftOut(sas: readonly LeftOutSa[]): void {
    const byShard = Map.groupBy(sas, ({ id }) => shardOf(id.responderSpi, this.#shards));
    this.#uplinks.forEach((uplink, shard) => {
      uplink.leftOut(byShard.get(shard) ?? []);
    });
  }

  vouch(shard: number, canary: number): void {
    this.#uplinks[shard]!.vouch(canary);
  }

  /** Stops the headend, then the streams, and closes the channels. */
  async stop(): Promise<void> {
    this.#cancelRebalance();
    await this.#headend.stop();
    for (const uplink of this.#uplinks) uplink.stop();
    this.#channels.close();
  }

  /** One shard at a time: the next one moves when this one is connected again. */
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
