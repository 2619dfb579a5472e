/**
 * The way of a verdict from the shard to whoever acts on it: into the log first, in order, then down the stream.
 * While Redis is away they wait, in order. The wait is bounded by the shard's SAs: an SA has one verdict, and one that its
 * peer's answer overtakes is taken back.
 */

import { create, toBinary } from '@bufbuild/protobuf';
import {
  Action,
  DeadReason,
  type GuardAction,
  type Sa,
  type Verdict,
  VerdictSchema,
} from '../../proto/gen/dpd/v1/types_pb.js';
import type { ShardVerdict } from '../../workers/protocol.ts';
import type { Clock } from '../clock.ts';
import { nextEndpoint } from '../failover/plan.ts';
import type { Logger } from '../log.ts';
import { spiHex } from '../spi.ts';
import { knownDead, markDead } from '../store/dead-endpoints.ts';
import type { RedisClient } from '../store/redis.ts';
import { FencedError } from '../store/scripts.ts';
import type { ShardStore } from '../store/shard-store.ts';
import type { SuspicionTraces } from '../telemetry/traces.ts';

/** Steps written at once. */
const BATCH = 500;
const RETRY_MS = 200;
const FINISH_POLL_MS = 10;
/** A failover is looked at for the first time this long after its verdict, unless it is acknowledged before, ms. */
const FAILOVER_AFTER_MS = 1_000;

export type VerdictContext = {
  readonly headend: string;
  readonly shard: number;
  readonly store: ShardStore;
  readonly redis: RedisClient;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
  readonly clock: Clock;
};

/** What is to be written: a verdict on an SA, or that it is not dead after all. */
type Step = { readonly spi: string; readonly verdict: Verdict | undefined; cancelled: boolean };

export class VerdictWriter {
  readonly #context: VerdictContext;
  readonly #deliver: (verdicts: Verdict[]) => void;
  readonly #onFenced: () => void;
  /** Steps in order; those of `#writing` come before. */
  #queue: Step[] = [];
  #writing: readonly Step[] = [];
  /** The verdict of an SA that waits in the queue. */
  readonly #waitingBySpi = new Map<string, Step>();
  /** Verdicts that stand in the log by our hand, by SPI pair, for as long as the SA is held and dead. */
  readonly #given = new Map<string, Verdict>();
  #ordinal = 0;
  #busy = false;
  #stopped = false;

  /** @param deliver told of verdicts once they are in the log */
  constructor(context: VerdictContext, deliver: (verdicts: Verdict[]) => void, onFenced: () => void) {
    this.#context = context;
    this.#deliver = deliver;
    this.#onFenced = onFenced;
  }

  /** Verdicts that wait for Redis. */
  get waiting(): number {
    return this.#queue.length + this.#writing.length;
  }

  /** Takes over a verdict of the shard's, about the SA it was decided for. */
  add(verdict: ShardVerdict, sa: Sa, guards: readonly GuardAction[]): void {
    const step = { spi: spiHex(sa.id!), verdict: this.#compose(verdict, sa, guards), cancelled: false };
    this.#waitingBySpi.set(step.spi, step);
    this.#push(step);
  }

  /** The peer answered: its verdict is taken back if it still waits, else forgotten in its turn. */
  revive(spi: string): void {
    this.#given.delete(spi);
    const waiting = this.#waitingBySpi.get(spi);
    if (waiting) waiting.cancelled = true;
    else this.#push({ spi, verdict: undefined, cancelled: false });
    this.#waitingBySpi.delete(spi);
  }

  /** The SA is gone from the store, and with it what the store knew of its death. */
  forget(spi: string): void {
    this.#given.delete(spi);
  }

  /** Redis lost writes: what was given is written again, before all else. */
  writeAgain(): void {
    this.#queue.unshift(...Array.from(this.#given, ([spi, verdict]) => ({ spi, verdict, cancelled: false })));
    if (!this.#busy) void this.#write();
  }

  /** Waits until nothing waits any more, at most `ms`. */
  async finish(ms: number): Promise<void> {
    const { clock } = this.#context;
    const deadline = clock.now() + ms;
    while (this.waiting > 0 && clock.now() < deadline) await clock.sleep(FINISH_POLL_MS);
  }

  /** Gives up what is still waiting: the next owner finds those peers dead by itself. */
  stop(): void {
    this.#stopped = true;
  }

  #push(step: Step): void {
    this.#queue.push(step);
    if (!this.#busy) void this.#write();
  }

  #compose(verdict: ShardVerdict, sa: Sa, guards: readonly GuardAction[]): Verdict {
    const { headend, shard, store, traces } = this.#context;
    const spi = spiHex(sa.id!);
    const id = `${spi}.${store.epoch}.${this.#ordinal++}`;
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
        guards: [...guards],
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
    const { store, log, clock } = this.#context;
    this.#busy = true;
    while (this.#queue.length > 0 && !this.#stopped) {
      const kind = this.#queue[0]!.verdict !== undefined;
      const other = this.#queue.findIndex(({ verdict }) => (verdict !== undefined) !== kind);
      this.#writing = this.#queue.splice(0, Math.min(BATCH, other < 0 ? BATCH : other)).filter((s) => !s.cancelled);
      if (this.#writing.length === 0) continue;
      for (const { spi } of this.#writing) this.#waitingBySpi.delete(spi);
      try {
        if (kind) await this.#append(this.#writing as (Step & { verdict: Verdict })[]);
        else await store.revive(this.#writing.map(({ spi }) => spi));
        this.#writing = [];
      } catch (error) {
        this.#queue.unshift(...this.#writing);
        this.#writing = [];
        if (error instanceof FencedError) {
          this.#onFenced();
          break;
        }
        log.warn({ waiting: this.waiting, reason: (error as Error).message }, 'verdicts wait for Redis');
        await clock.sleep(RETRY_MS);
      }
    }
    this.#busy = false;
  }

  async #append(steps: readonly (Step & { verdict: Verdict })[]): Promise<void> {
    const { store, redis, traces, clock } = this.#context;
    await this.#chooseEndpoints(steps);
    await store.appendVerdicts(
      steps.map(({ spi, verdict }) => ({ spi, id: verdict.id, bytes: toBinary(VerdictSchema, verdict) })),
      FAILOVER_AFTER_MS,
    );
    // A hint for others; nothing depends on it.
    markDead(
      redis,
      steps.map(({ verdict }) => verdict.endpoints[verdict.deadEndpoint]!),
      clock.wall(),
    ).catch(() => {});
    for (const { spi, verdict } of steps) {
      traces.logged(verdict.id);
      this.#given.set(spi, verdict);
    }
    // Whoever was fenced in the meantime has nothing to say.
    if (!this.#stopped) this.#deliver(steps.map(({ verdict }) => verdict));
  }

  /** Endpoints that the cluster knows to be dead are passed over. */
  async #chooseEndpoints(steps: readonly { readonly verdict: Verdict }[]): Promise<void> {
    const { redis, clock } = this.#context;
    const several = steps.map(({ verdict }) => verdict).filter(({ endpoints }) => endpoints.length > 2);
    if (several.length === 0) return;
    const isDead = await knownDead(
      redis,
      several.flatMap(({ endpoints }) => endpoints),
      clock.wall(),
    );
    for (const verdict of several) {
      const { endpoints, deadEndpoint } = verdict;
      const dead = (endpoint: number) => isDead(endpoints[endpoint]!);
      verdict.nextEndpoint = nextEndpoint(endpoints.length, deadEndpoint, deadEndpoint, [], dead) ?? deadEndpoint;
    }
  }
}
