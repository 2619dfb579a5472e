/**
 * The way of a verdict from the shard to the data plane: first into the log, in order, then to the stream. While Redis is
 * away verdicts wait, in order. Their number is bounded by the shard's SAs: an SA has one verdict, and if its peer answers
 * first, the verdict is taken back.
 */

import { create, fromBinary } from '@bufbuild/protobuf';
import { Guard, type GuardAction, GuardActionSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { FencedError } from '../../../workers/base/errors.ts';
import type { ShardVerdict } from '../../../workers/shard/protocol.ts';
import type { Clock } from '../../base/clock.ts';
import type { Outages } from '../../base/seldom.ts';
import { nextEndpoint } from '../../failover/plan.ts';
import { knownDead, markDead } from '../../store/cluster/dead-endpoints.ts';
import type { ShardId } from '../../store/keys.ts';
import type { RedisClient } from '../../store/redis/redis.ts';
import type { ShardStore } from '../../store/shard/shard-store.ts';
import type { SuspicionTraces } from '../../telemetry/traces.ts';
import { Decision } from './decision.ts';
import { deadEndpoint, type EncodedVerdict, endpointsOf, setNextEndpoint, VerdictComposer } from './verdict-bytes.ts';
import { VerdictDurations } from './verdict-durations.ts';

/** Steps written at once: larger requests fill the socket's buffer, and Redis and this thread then wait for each other. */
const BATCH = 200;
const RETRY_MS = 200;
const FINISH_POLL_MS = 10;
/** Other nodes get the dead endpoints so long after the last verdict, ms: not during a burst of other shards. */
const DEAD_AFTER_MS = 1_000;
/** Endpoints in one message. */
const DEAD_BATCH = 1_000;
/** A failover is looked at for the first time this long after its verdict, unless it is acknowledged before, ms. */
const FAILOVER_AFTER_MS = 5_000;

export type VerdictContext = {
  readonly id: ShardId;
  readonly store: Pick<ShardStore, 'epoch' | 'appendVerdicts' | 'revive'>;
  readonly redis: RedisClient;
  readonly traces: SuspicionTraces;
  readonly outages: Outages;
  readonly clock: Clock;
};

/** One step to write: a verdict on an SA, or its revival. */
type Step = VerdictStep | RevivalStep;
type RevivalStep = { readonly kind: 'revival'; readonly spi: string; state: 'waiting' };
type VerdictStep = {
  readonly kind: 'verdict';
  readonly spi: string;
  /** The verdict's content, composed when its turn comes, so that a burst reaches Redis soon. */
  content: Decision | EncodedVerdict;
  /** What kept it back before. */
  readonly hold: GuardAction | undefined;
  state: 'waiting' | 'cancelled' | 'writing' | 'logged';
};

/** Steps that are written together. */
type Batch = VerdictBatch | { readonly kind: 'revival'; readonly steps: readonly RevivalStep[] };
type VerdictBatch = {
  readonly kind: 'verdict';
  readonly steps: readonly VerdictStep[];
  /** All on one page. */
  readonly verdicts: readonly EncodedVerdict[];
};

/** Verdicts in the log: their ids, and a Verdicts message of all. */
export type LoggedVerdicts = { readonly ids: readonly string[]; readonly bytes: Buffer };

export type WriterEvents = {
  /** These are in the log. */
  logged(verdicts: LoggedVerdicts): void;
  /** No more are about to be. */
  idle(): void;
  /** Another owns the shard. */
  fenced(): void;
};

const NO_GUARDS: readonly GuardAction[] = [];

export class VerdictWriter {
  readonly #context: VerdictContext;
  readonly #events: WriterEvents;
  readonly #composer: VerdictComposer;
  readonly #durations: VerdictDurations;
  /** Steps in order; those of `#writing` come before, and then those of the batch that is composed ahead. */
  #queue: Step[] = [];
  #writing: readonly Step[] = [];
  #ahead: Batch | undefined;
  /** The verdict of each SA that is held and dead; it waits, or this owner has written it to the log. */
  readonly #bySpi = new Map<string, VerdictStep>();
  /** Ids of verdicts that may be in the log already, but do not count as written yet. */
  readonly #unconfirmed = new Set<string>();
  /** Verdicts in the log, of whose dead endpoint others have not been told yet. */
  #dead: EncodedVerdict[] = [];
  #cancelTelling: (() => void) | undefined;
  #ordinal = 0;
  #busy = false;
  /** Redis did not take the last batch. */
  #refused = false;
  #stopped = false;

  constructor(context: VerdictContext, events: WriterEvents) {
    this.#context = context;
    this.#composer = new VerdictComposer(context.id);
    this.#durations = new VerdictDurations(context.id.headend);
    this.#events = events;
  }

  /** Verdicts that wait for Redis. */
  get waiting(): number {
    return this.#queue.length + this.#writing.length + (this.#ahead?.steps.length ?? 0);
  }

  /** Verdicts wait, and Redis takes them. */
  get flowing(): boolean {
    return this.waiting > 0 && !this.#refused;
  }

  /** Whether a verdict does not count as written yet, although the log may have it. */
  unconfirmed(id: string): boolean {
    return this.#unconfirmed.has(id);
  }

  /** Takes over a verdict of the shard's, about an SA that is held. */
  add(decision: Decision, hold?: GuardAction): void {
    const { spi } = decision;
    const step: VerdictStep = { kind: 'verdict', spi, content: decision, hold, state: 'waiting' };
    this.#bySpi.set(spi, step);
    this.#push(step);
  }

  /**
   * The peer answered: its verdict is taken back if it still waits, else forgotten in its turn. What an operator wants is not taken
   * back.
   */
  revive(spi: string): void {
    const step = this.#bySpi.get(spi);
    if (step?.state === 'waiting' && isAsked(step.content)) return;
    if (!this.forget(spi)) this.#push({ kind: 'revival', spi, state: 'waiting' });
  }

  /** The SA is gone from the store, and so is the store's record of its death. True if a verdict was taken back. */
  forget(spi: string): boolean {
    const step = this.#bySpi.get(spi);
    this.#bySpi.delete(spi);
    if (step?.state !== 'waiting') return false;
    step.state = 'cancelled';
    return true;
  }

  /** The data plane has answered. @param over whether the failover ends with that */
  acknowledged(id: string, outcome: string, over: boolean): void {
    this.#durations.acknowledged(id, outcome, over, this.#context.clock.wall());
  }

  /** Whether this owner has written a verdict on this SA to the log, or is about to. */
  gave(spi: string): boolean {
    return this.#bySpi.has(spi);
  }

  /** Redis lost writes: the verdicts of the log are written again, before everything else. */
  writeAgain(): void {
    const logged = [...this.#bySpi.values()].filter(({ state }) => state === 'logged');
    // Redis may still have the verdict: only a revival takes it back.
    for (const step of logged) step.state = 'writing';
    this.#putBack(this.#ahead);
    this.#ahead = undefined;
    this.#putBack({ steps: logged });
    if (!this.#busy) void this.#write();
  }

  /** Waits until no verdict waits any more, at most `ms`. */
  async finish(ms: number): Promise<void> {
    const { clock } = this.#context;
    const deadline = clock.now() + ms;
    while (this.waiting > 0 && clock.now() < deadline) await clock.sleep(FINISH_POLL_MS);
  }

  /** Gives up what is still waiting: the next owner finds those peers dead by itself. */
  stop(): void {
    this.#stopped = true;
    this.#tellDead();
  }

  #push(step: Step): void {
    this.#queue.push(step);
    if (!this.#busy) void this.#write();
  }

  /** While Redis writes one batch, the next is composed and the last is delivered: none waits for another. */
  async #write(): Promise<void> {
    const { id, store, outages, clock } = this.#context;
    this.#busy = true;
    let written: Batch | undefined;
    for (let batch = this.#next(); batch && !this.#stopped; batch = this.#next()) {
      this.#writing = batch.steps;
      try {
        const done = batch.kind === 'verdict' ? this.#append(batch) : store.revive(batch.steps.map(({ spi }) => spi));
        this.#finishBatch(written);
        written = undefined;
        this.#ahead = this.#nextBatch();
        await done;
        written = batch;
        this.#refused = false;
      } catch (error) {
        this.#refused = true;
        this.#putBack(this.#ahead);
        this.#ahead = undefined;
        this.#putBack(batch);
        this.#writing = [];
        if (error instanceof FencedError) {
          this.#events.fenced();
          break;
        }
        const { message: reason } = error as Error;
        outages.warn({ ...id, waiting: this.waiting, reason }, 'verdicts wait for Redis');
        await clock.sleep(RETRY_MS);
      }
      this.#writing = [];
    }
    this.#finishBatch(written);
    this.#busy = false;
    if (this.#dead.length === 0) return;
    this.#cancelTelling ??= clock.after(DEAD_AFTER_MS, () => this.#tellDead());
    this.#events.idle();
  }

  /** The batch to be written next: the one composed ahead, unless verdicts of it were taken back meanwhile. */
  #next(): Batch | undefined {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead?.steps.every(({ state }) => state !== 'cancelled')) return ahead;
    this.#putBack(ahead);
    return this.#nextBatch();
  }

  /** Takes as many steps of a kind as are written together, and composes them. */
  #nextBatch(): Batch | undefined {
    while (this.#queue.length > 0) {
      const { kind } = this.#queue[0]!;
      let count = 1;
      while (count < BATCH && this.#queue[count]?.kind === kind) count++;
      const steps = this.#queue.splice(0, count).filter(({ state }) => state !== 'cancelled');
      if (steps.length === 0) continue;
      if (kind === 'revival') return { kind, steps: steps as RevivalStep[] };
      return { kind, steps: steps as VerdictStep[], verdicts: this.#composeAll(steps as VerdictStep[]) };
    }
    return undefined;
  }

  #putBack(batch: Pick<Batch, 'steps'> | undefined): void {
    if (batch) this.#queue = [...batch.steps, ...this.#queue];
  }

  /** Tells other nodes which endpoints are dead: a hint, nothing depends on it. */
  #tellDead(): void {
    const { redis, clock } = this.#context;
    this.#cancelTelling?.();
    this.#cancelTelling = undefined;
    const endpoints = this.#dead.map(deadEndpoint);
    this.#dead = [];
    for (let n = 0; n < endpoints.length; n += DEAD_BATCH)
      markDead(redis, endpoints.slice(n, n + DEAD_BATCH), clock.wall()).catch(() => {});
  }

  async #append({ steps, verdicts }: VerdictBatch): Promise<void> {
    for (const [n, step] of steps.entries()) {
      // From here on the verdict may be in the log: an answer of the peer does not take it back any more.
      step.state = 'writing';
      this.#unconfirmed.add(verdicts[n]!.id);
    }
    const several = verdicts.filter(({ endpoints, fixed }) => endpoints > 2 && !fixed);
    if (several.length > 0) await this.#chooseEndpoints(several);
    await this.#context.store.appendVerdicts(verdicts, verdicts[0]!.page.bytes, FAILOVER_AFTER_MS);
  }

  /** What was written is in the log. */
  #finishBatch(batch: Batch | undefined): void {
    if (batch?.kind !== 'verdict') return;
    const { steps, verdicts } = batch;
    for (const step of steps) step.state = 'logged';
    const ids = verdicts.map(({ id }) => id);
    const nowUnix = this.#context.clock.wall();
    for (const id of ids) {
      this.#unconfirmed.delete(id);
      this.#durations.logged(id, nowUnix);
      this.#context.traces.logged(id);
    }
    this.#dead.push(...verdicts.filter(({ asked }) => asked === 0));
    // A writer that was fenced meanwhile must not report anything.
    if (!this.#stopped) this.#events.logged({ ids, bytes: verdicts[0]!.page.bytes });
  }

  #composeAll(steps: readonly VerdictStep[]): EncodedVerdict[] {
    const verdicts = steps.map((step) => {
      const { content, hold } = step;
      const verdict = content instanceof Decision ? this.#compose(content, hold) : this.#composer.repeat(content);
      step.content = verdict;
      return verdict;
    });
    this.#composer.finish();
    return verdicts;
  }

  #compose(decision: Decision, hold: GuardAction | undefined): EncodedVerdict {
    const { id: shard, store, traces } = this.#context;
    const { epoch } = store;
    const { spi, verdict } = decision;
    const id = `${spi}.${epoch}.${this.#ordinal++}`;
    const traceparent = traces.verdict(() => {
      const { firstProbeUnix, probesSent: attempts } = verdict;
      return { ...shard, peerId: fromBinary(SaSchema, decision.sa!).peerId, sa: spi, firstProbeUnix, attempts };
    }, id);
    this.#durations.given(id, verdict);
    const guards = guardsOf(verdict, hold);
    return this.#composer.compose((message) => decision.copySa(message), verdict, { id, epoch, guards, traceparent });
  }

  /** Endpoints that the cluster knows to be dead are skipped. */
  async #chooseEndpoints(verdicts: readonly EncodedVerdict[]): Promise<void> {
    const { redis, clock } = this.#context;
    const endpoints = verdicts.map(endpointsOf);
    const isDead = await knownDead(redis, endpoints.flat(), clock.wall());
    for (const [n, verdict] of verdicts.entries()) {
      const from = verdict.active;
      const dead = (endpoint: number) => isDead(endpoints[n]![endpoint]!);
      setNextEndpoint(verdict, nextEndpoint(verdict.endpoints, from, from, [], dead) ?? from);
    }
  }
}

/** Whether an operator wants it. */
function isAsked(content: Decision | EncodedVerdict): boolean {
  return (content instanceof Decision ? content.verdict.asked : content.asked) > 0;
}

/** What delayed a verdict, in order. */
function guardsOf({ blindMs }: ShardVerdict, hold: GuardAction | undefined): readonly GuardAction[] {
  if (blindMs < 1) return hold ? [hold] : NO_GUARDS;
  const blindness = create(GuardActionSchema, {
    guard: Guard.BLIND_TIME,
    ms: BigInt(Math.round(blindMs)),
    reason: 'the shard ran late and could not see answers',
  });
  return hold ? [blindness, hold] : [blindness];
}
