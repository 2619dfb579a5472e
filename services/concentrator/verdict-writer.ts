/**
 * The way of a verdict from the shard to whoever acts on it: into the log first, in order, then down the stream.
 * While Redis is away verdicts wait. The wait is bounded by the shard's SAs, for an SA has one verdict.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { Action, DeadReason, type Sa, type Verdict, VerdictSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import type { ShardVerdict } from '../../workers/protocol.ts';
import type { Logger } from '../log.ts';
import { spiHex } from '../spi.ts';
import { FencedError } from '../store/scripts.ts';
import type { ShardStore } from '../store/shard-store.ts';
import type { SuspicionTraces } from '../telemetry/traces.ts';

/** Verdicts written in one step. */
const BATCH = 500;
const RETRY_MS = 200;

export type VerdictContext = {
  readonly headend: string;
  readonly shard: number;
  readonly store: ShardStore;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
};

export class VerdictWriter {
  readonly #context: VerdictContext;
  readonly #deliver: (verdicts: Verdict[]) => void;
  readonly #onFenced: () => void;
  #queue: Verdict[] = [];
  #writing = false;
  #stopped = false;

  /** @param deliver told of verdicts once they are in the log */
  constructor(context: VerdictContext, deliver: (verdicts: Verdict[]) => void, onFenced: () => void) {
    this.#context = context;
    this.#deliver = deliver;
    this.#onFenced = onFenced;
  }

  /** Takes over a verdict of the shard's, about the SA it was decided for. */
  add(verdict: ShardVerdict, sa: Sa): void {
    this.#queue.push(this.#compose(verdict, sa));
    if (!this.#writing) void this.#write();
  }

  /** Gives up what is still waiting: the next owner finds those peers dead by itself. */
  stop(): void {
    this.#stopped = true;
  }

  #compose(verdict: ShardVerdict, sa: Sa): Verdict {
    const { headend, shard, store, traces } = this.#context;
    const spi = spiHex(sa.id!);
    const id = `${spi}.${store.epoch}.${verdict.ordinal}`;
    const action = sa.policy?.action || Action.FAILOVER;
    return create(VerdictSchema, {
      id,
      headend,
      shard,
      epoch: BigInt(store.epoch),
      sa: sa.id!,
      peerId: sa.peerId,
      childSpis: sa.childSpis,
      reason: DeadReason.PROBES_UNANSWERED,
      history: {
        lastEvidenceUnixMs: BigInt(Math.round(verdict.lastEvidenceUnix)),
        firstProbeUnixMs: BigInt(Math.round(verdict.firstProbeUnix)),
        probesSent: verdict.probesSent,
        earliestUnixMs: BigInt(Math.round(verdict.earliestUnix)),
        decidedUnixMs: BigInt(Math.round(verdict.decidedUnix)),
      },
      action,
      endpoints: sa.endpoints,
      deadEndpoint: sa.activeEndpoint,
      nextEndpoint: (sa.activeEndpoint + 1) % sa.endpoints.length,
      traceparent: traces.verdict(
        {
          headend,
          shard,
          peerId: sa.peerId,
          sa: spi,
          firstProbeUnix: verdict.firstProbeUnix,
          attempts: verdict.probesSent,
        },
        id,
      ),
    });
  }

  async #write(): Promise<void> {
    const { store, log, traces } = this.#context;
    this.#writing = true;
    while (this.#queue.length > 0 && !this.#stopped) {
      const batch = this.#queue.slice(0, BATCH);
      try {
        await store.appendVerdicts(
          batch.map((verdict) => ({
            spi: spiHex(verdict.sa!),
            id: verdict.id,
            bytes: toBinary(VerdictSchema, verdict),
          })),
        );
        this.#queue.splice(0, batch.length);
        for (const { id } of batch) traces.logged(id);
        this.#deliver(batch);
      } catch (error) {
        if (error instanceof FencedError) {
          this.#onFenced();
          break;
        }
        log.warn({ waiting: this.#queue.length, reason: (error as Error).message }, 'verdicts wait for Redis');
        await sleep(RETRY_MS);
      }
    }
    this.#writing = false;
  }
}
