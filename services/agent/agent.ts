/** An agent: one data plane, one uplink a shard, and what passes between them. */

import type { Sa } from '../../proto/gen/dpd/v1/types_pb.js';
import { checkSa } from '../concentrator/validate.ts';
import { ApiClient } from '../grpc/client.ts';
import type { TransportSettings } from '../grpc/credentials.ts';
import type { Logger } from '../log.ts';
import { shardOf } from '../spi.ts';
import type { AgentSide, DataPlane, PathState } from './dataplane.ts';
import { ShardUplink } from './uplink.ts';
import { VerdictInbox } from './verdict-inbox.ts';

export type AgentSettings = TransportSettings & {
  readonly headend: string;
  /** Shards of this headend, a power of two. */
  readonly shards: number;
};

export class Agent implements AgentSide {
  readonly #dataPlane: DataPlane;
  readonly #client: ApiClient;
  readonly #uplinks: readonly ShardUplink[];
  readonly #shards: number;
  readonly #log: Logger;

  /** Connects every shard; start() the data plane with it. Throws SettingsError on credentials. */
  constructor(settings: AgentSettings, dataPlane: DataPlane, log: Logger) {
    const { headend, shards } = settings;
    this.#dataPlane = dataPlane;
    this.#shards = shards;
    this.#log = log;
    this.#client = new ApiClient(settings);
    const inbox = new VerdictInbox(dataPlane, log, (verdict, { outcome, detail }) =>
      this.#uplinks[verdict.shard]!.acknowledge([{ verdictId: verdict.id, outcome, detail }]),
    );
    this.#uplinks = Array.from(
      { length: shards },
      (_, shard) =>
        new ShardUplink(
          this.#client,
          { headend, shard, shards },
          {
            connected: (probePort, held) => dataPlane.connected(shard, probePort, held),
            held: (spis) => dataPlane.held(spis),
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
          log,
        ),
    );
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

  /** Stops the data plane, then the streams. */
  async stop(): Promise<void> {
    await this.#dataPlane.stop();
    for (const uplink of this.#uplinks) uplink.stop();
    this.#client.close();
  }

  #uplinkOf(responderSpi: bigint): ShardUplink {
    return this.#uplinks[shardOf(responderSpi, this.#shards)]!;
  }
}
