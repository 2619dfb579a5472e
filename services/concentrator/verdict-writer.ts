/**
 * The way of a verdict from the shard to whoever acts on it: into the log first, in order, then down the stream.
 * While Redis is away they wait, in order. The wait is bounded by the shard's SAs: an SA has one verdict, and one that its
 * peer's answer overtakes is taken back.
 */

import { fromBinary } from '@bufbuild/protobuf';
import { EndpointSchema, type GuardAction, SaSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import type { ShardVerdict } from '../../workers/protocol.ts';
import type { Clock } from '../clock.ts';
import { nextEndpoint } from '../failover/plan.ts';
import type { Logger } from '../log.ts';
import { knownDead, markDead } from '../store/dead-endpoints.ts';
import type { ShardId } from '../store/keys.ts';
import type { RedisClient } from '../store/redis.ts';
import { FencedError } from '../store/scripts.ts';
import type { ShardStore, StoredVerdict } from '../store/shard-store.ts';
import type { SuspicionTraces } from '../telemetry/traces.ts';
import { type EncodedVerdict, endpointsOf, setNextEndpoint, VerdictComposer } from './verdict-bytes.ts';

/** Steps written at once: larger requests fill the socket's buffer, and Redis and this thread then wait for each other. */
const BATCH = 200;
const RETRY_MS = 200;
const FINISH_POLL_MS = 10;
/** Endpoints told of at once. */
const DEAD_BATCH = 1_000;
/** A failover is looked at for the first time this long after its verdict, unless it is acknowledged before, ms. */
const FAILOVER_AFTER_MS = 5_000;

export type VerdictContext = {
  readonly id: ShardId;
  readonly store: ShardStore;
  readonly redis: RedisClient;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
  readonly clock: Clock;
};

/** What is to be written: a verdict on an SA, or that it is not dead after all. */
type Step = VerdictStep | RevivalStep;
type RevivalStep = { readonly kind: 'revival'; readonly spi: string; state: 'waiting' };
type VerdictStep = {
  readonly kind: 'verdict';
  readonly spi: string;
  /** What it tells: composed when its turn comes, so that a burst is soon on its way to Redis. */
  content: Decided | EncodedVerdict;
  state: 'waiting' | 'cancelled' | 'writing' | 'logged';
};
type Decided = {
  /** Message of the SA. */
  readonly sa: Uint8Array;
  readonly verdict: ShardVerdict;
  readonly guards: readonly GuardAction[];
};

export class VerdictWriter {
  readonly #context: VerdictContext;
  readonly #deliver: (verdicts: StoredVerdict[]) => void;
  readonly #composer: VerdictComposer;
  readonly #onFenced: () => void;
  /** Steps in order; those of `#writing` come before. */
  #queue: Step[] = [];
  #writing: readonly Step[] = [];
  /** The verdict of each SA that is held and dead, waiting or in the log by our hand. */
  readonly #bySpi = new Map<string, VerdictStep>();
  /** Ids of verdicts that may be in the log already, but do not count as written yet. */
  readonly #unconfirmed = new Set<string>();
  /** Endpoint messages of verdicts in the log, of which others have not been told yet. */
  #dead: Uint8Array[] = [];
  #ordinal = 0;
  #busy = false;
  #stopped = false;

  /** @param deliver told of verdicts once they are in the log */
  constructor(context: VerdictContext, deliver: (verdicts: StoredVerdict[]) => void, onFenced: () => void) {
    this.#context = context;
    this.#composer = new VerdictComposer(context.id);
    this.#deliver = deliver;
    this.#onFenced = onFenced;
  }

  /** Verdicts that wait for Redis. */
  get waiting(): number {
    return this.#queue.length + this.#writing.length;
  }

  /** Whether a verdict does not count as written yet, though the log may have it. */
  unconfirmed(id: string): boolean {
    return this.#unconfirmed.has(id);
  }

  /** Takes over a verdict of the shard's, about the SA as it was when it was decided. */
  add(spi: string, decided: Decided): void {
    const step: VerdictStep = { kind: 'verdict', spi, content: decided, state: 'waiting' };
    this.#bySpi.set(spi, step);
    this.#push(step);
  }

  /** The peer answered: its verdict is taken back if it still waits, else forgotten in its turn. */
  revive(spi: string): void {
    if (!this.forget(spi)) this.#push({ kind: 'revival', spi, state: 'waiting' });
  }

  /** The SA is gone from the store, and with it what the store knew of its death. True if a verdict was taken back. */
  forget(spi: string): boolean {
    const step = this.#bySpi.get(spi);
    this.#bySpi.delete(spi);
    if (step?.state !== 'waiting') return false;
    step.state = 'cancelled';
    return true;
  }

  /** Whether a verdict on this SA is in the log by our hand, or on its way there. */
  gave(spi: string): boolean {
    return this.#bySpi.has(spi);
  }

  /** Redis lost writes: what stood in the log is written again, before all else. */
  writeAgain(): void {
    const logged = [...this.#bySpi.values()].filter(({ state }) => state === 'logged');
    // Redis may still have it: only a revival takes it back.
    for (const step of logged) step.state = 'writing';
    this.#queue = [...logged, ...this.#queue];
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

  async #write(): Promise<void> {
    const { store, log, clock } = this.#context;
    this.#busy = true;
    while (this.#queue.length > 0 && !this.#stopped) {
      const { kind } = this.#queue[0]!;
      let count = 1;
      while (count < BATCH && this.#queue[count]?.kind === kind) count++;
      this.#writing = this.#queue.splice(0, count).filter(({ state }) => state !== 'cancelled');
      if (this.#writing.length === 0) continue;
      try {
        if (kind === 'verdict') await this.#append(this.#writing as readonly VerdictStep[]);
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
    this.#markDead();
  }

  /** Tells others which endpoints are dead, when no verdict waits for it: a hint, nothing depends on it. */
  #markDead(): void {
    const { redis, clock } = this.#context;
    const endpoints = this.#dead.map((bytes) => fromBinary(EndpointSchema, bytes));
    this.#dead = [];
    for (let n = 0; n < endpoints.length; n += DEAD_BATCH)
      markDead(redis, endpoints.slice(n, n + DEAD_BATCH), clock.wall()).catch(() => {});
  }

  async #append(steps: readonly VerdictStep[]): Promise<void> {
    const { store, traces } = this.#context;
    const verdicts = steps.map((step) => {
      // From here on it may be in the log: an answer of the peer does not take it back any more.
      step.state = 'writing';
      if (!('bytes' in step.content)) step.content = this.#compose(step.spi, step.content);
      this.#unconfirmed.add(step.content.id);
      return step.content;
    });
    await this.#chooseEndpoints(verdicts);
    await store.appendVerdicts(
      verdicts.map(({ id, bytes }, n) => ({ spi: steps[n]!.spi, id, bytes })),
      FAILOVER_AFTER_MS,
    );
    for (const step of steps) step.state = 'logged';
    for (const { id, dead } of verdicts) {
      this.#dead.push(dead);
      this.#unconfirmed.delete(id);
      traces.logged(id);
    }
    // Whoever was fenced in the meantime has nothing to say.
    if (!this.#stopped) this.#deliver(verdicts.map(({ id, bytes }) => ({ name: id, bytes })));
  }

  #compose(spi: string, { sa, verdict, guards }: Decided): EncodedVerdict {
    const { id: shard, store, traces } = this.#context;
    const { epoch } = store;
    const id = `${spi}.${epoch}.${this.#ordinal++}`;
    const traceparent = traces.verdict(() => {
      const { firstProbeUnix, probesSent: attempts } = verdict;
      return { ...shard, peerId: fromBinary(SaSchema, sa).peerId, sa: spi, firstProbeUnix, attempts };
    }, id);
    return this.#composer.compose(sa, verdict, { id, epoch, guards, traceparent });
  }

  /** Endpoints that the cluster knows to be dead are passed over. */
  async #chooseEndpoints(verdicts: readonly EncodedVerdict[]): Promise<void> {
    const { redis, clock } = this.#context;
    const several = verdicts.flatMap((verdict) =>
      verdict.endpoints > 2 ? [{ verdict, endpoints: endpointsOf(verdict) }] : [],
    );
    if (several.length === 0) return;
    const isDead = await knownDead(
      redis,
      several.flatMap(({ endpoints }) => endpoints),
      clock.wall(),
    );
    for (const { verdict, endpoints } of several) {
      const from = verdict.active;
      const dead = (endpoint: number) => isDead(endpoints[endpoint]!);
      setNextEndpoint(verdict, nextEndpoint(endpoints.length, from, from, [], dead) ?? from);
    }
  }
}
