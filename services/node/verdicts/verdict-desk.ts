/**
 * The verdicts of one shard from the thread's word to the headend's stream: held back if too many come at once, into the
 * log, down the stream, and again when asked for. Taken back where the peer answers in time.
 */

import { create, fromBinary } from '@bufbuild/protobuf';
import { Guard, GuardActionSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import type { Recovery } from '../../../workers/shard/protocol.ts';
import { handleAt, verdictCount } from '../../../workers/shard/verdict-rows.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { ShardId } from '../../store/keys.ts';
import type { RedisClient } from '../../store/redis/redis.ts';
import type { ShardStore } from '../../store/shard/shard-store.ts';
import type { SuspicionTraces } from '../../telemetry/traces.ts';
import type { ShardRecords } from '../records/records.ts';
import { Decision } from './decision.ts';
import { type HeldVerdict, HeldVerdicts, type HoldSettings } from './held-verdicts.ts';
import type { StormGuard, StormReason } from './storm-guard.ts';
import { type LoggedVerdicts, VerdictWriter } from './verdict-writer.ts';

/** Verdicts delivered with one message, at most. */
const BATCH = 200;
/** A verdict not acknowledged is delivered again on the same stream after this, ms. */
const DELIVER_AGAIN_MS = 10_000;

export type DeskContext = {
  readonly id: ShardId;
  readonly store: ShardStore;
  readonly redis: RedisClient;
  readonly clock: Clock;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
  readonly storm: StormGuard;
  readonly hold: HoldSettings;
};

/** The desk's way to the shard's other parts. */
export type DeskEvents = {
  records(): ShardRecords;
  hold(handles: readonly number[]): void;
  endHold(handles: readonly number[], drop: boolean): void;
  /** @param verdicts a Verdicts message */
  deliver(verdicts: Uint8Array): void;
  /** Verdicts are in the log, and no more are about to be. */
  logged(): void;
  fenced(): void;
};

export class VerdictDesk {
  readonly held: HeldVerdicts;
  readonly #context: DeskContext;
  readonly #events: DeskEvents;
  readonly #writer: VerdictWriter;
  /** When each attempt of a verdict was last sent on the present stream, ms on the clock. */
  #delivered = new Map<string, number>();

  constructor(context: DeskContext, events: DeskEvents) {
    this.#context = context;
    this.#events = events;
    this.held = new HeldVerdicts(context.hold, context.clock);
    this.#writer = new VerdictWriter(context, {
      logged: (verdicts) => this.#deliver(verdicts),
      settled: () => events.logged(),
      fenced: () => events.fenced(),
    });
  }

  /** Verdicts that wait for Redis. */
  get waiting(): number {
    return this.#writer.waiting;
  }

  /**
   * The thread gave verdicts: they go on their way, unless so many come together that they are held back.
   * @param rows see verdict-rows.ts
   */
  judge(rows: Float64Array): void {
    const held: number[] = [];
    const records = this.#events.records();
    const stormReason = this.#stormReasons();
    for (let row = 0; row < verdictCount(rows); row++) {
      const handle = handleAt(rows, row);
      if (!records.has(handle)) continue;
      const site = records.site(handle);
      const decision = new Decision(records, rows, row);
      const reason = stormReason(site);
      if (reason) {
        this.held.add({ decision, site, reason });
        held.push(handle);
      } else this.#writer.add(decision);
    }
    if (held.length === 0) return;
    this.#events.hold(held);
    this.#context.log.warn({ verdicts: held.length, held: this.held.count }, 'too many deaths at once: verdicts held');
  }

  /** Peers answered: a verdict that nobody has seen yet is taken back, one in the log is forgotten. */
  recovered(recoveries: readonly Recovery[]): void {
    const { id, traces, log } = this.#context;
    const records = this.#events.records();
    let revived = 0;
    for (const { handle, firstProbeUnix, attempts, wasDead } of recoveries) {
      const sa = records.encoded(handle);
      if (!sa) continue;
      const spi = records.spi(handle);
      traces.recovered(() => {
        const { peerId } = fromBinary(SaSchema, sa);
        return { ...id, peerId, sa: spi, firstProbeUnix, attempts };
      });
      if (!wasDead || this.held.cancel(handle)) continue;
      this.#writer.revive(spi);
      revived++;
    }
    if (revived > 0) log.warn({ sas: revived }, 'peers answered after their verdict');
  }

  /** The SA is held no more. */
  removed(handle: number, spi: string): void {
    this.held.cancel(handle);
    this.#writer.forget(spi);
  }

  /** Lets go of held verdicts that may go. Call once a second. */
  settleHeld(): void {
    if (this.held.count === 0) return;
    const { clock, log } = this.#context;
    const stormReason = this.#stormReasons();
    const { release, drop } = this.held.settle(({ site }) => stormReason(site) !== undefined);
    if (release.length + drop.length === 0) return;
    this.#events.endHold(drop.map(handleOf), true);
    this.#events.endHold(release.map(handleOf), false);
    for (const { decision, sinceMs, reason } of release) {
      const ms = BigInt(Math.round(clock.now() - sinceMs));
      const hold = create(GuardActionSchema, { guard: Guard.STORM_HOLD, ms, reason: describe(reason) });
      this.#writer.add(decision, hold);
    }
    log.warn({ released: release.length, dropped: drop.length, held: this.held.count }, 'held verdicts settled');
  }

  /** Nothing has been delivered on the headend's new stream yet. */
  newStream(): void {
    this.#delivered = new Map();
  }

  /** Delivers what waits for its acknowledgement and was not sent lately. Rejects as the store does. */
  async deliverAgain(): Promise<void> {
    // Not in the middle of a burst, whose verdicts are delivered as they are written.
    if (this.#writer.flowing) return;
    const { store, clock } = this.#context;
    const former = this.#delivered;
    const begunAt = clock.now();
    const waiting = await store.readUnacked((name, id) => {
      if (this.#writer.unconfirmed(id)) return false;
      const at = former.get(name);
      return at === undefined || begunAt - at >= DELIVER_AGAIN_MS;
    });
    // A new stream has begun meanwhile, and looks for itself.
    if (former !== this.#delivered) return;
    // Only what still waits is remembered.
    for (const [name, at] of former) if (at < begunAt && !waiting.names.has(name)) former.delete(name);
    const { verdicts } = waiting;
    for (let n = 0; n < verdicts.length; n += BATCH) {
      const some = verdicts.slice(n, n + BATCH);
      this.#deliver({ ids: some.map(({ name }) => name), bytes: Buffer.concat(some.map(({ bytes }) => bytes)) });
    }
  }

  /** Whether a verdict on this SA is in the log by this owner's hand, or on its way there. */
  gave(spi: string): boolean {
    return this.#writer.gave(spi);
  }

  /**
   * Redis lost writes: what this owner has given goes into the log again.
   * @param alive SPI pairs that Redis wrongly counts as dead
   */
  writeAgain(alive: readonly string[]): void {
    for (const spi of alive) this.#writer.revive(spi);
    this.#writer.writeAgain();
  }

  /** Waits for verdicts on their way into the log, at most `ms`. */
  async finish(ms: number): Promise<void> {
    await this.#writer.finish(ms);
  }

  /** Gives up what is still waiting: the next owner finds those peers dead by itself. */
  stop(): void {
    this.#writer.stop();
  }

  #deliver({ ids, bytes }: LoggedVerdicts): void {
    const now = this.#context.clock.now();
    for (const id of ids) this.#delivered.set(id, now);
    this.#events.deliver(bytes);
  }

  /** Why verdicts should wait at this moment, by the number of a site. */
  #stormReasons(): (site: number) => StormReason | undefined {
    const { id, storm } = this.#context;
    const reasons = new Map<number, StormReason | undefined>();
    return (site) => {
      if (!reasons.has(site)) reasons.set(site, storm.reason(id, site));
      return reasons.get(site);
    };
  }
}

/** A held verdict's reason in one line. */
export function describe({ scope, name, silent, asked }: StormReason): string {
  return `${scope}${name === '' ? '' : ` ${name}`}: ${silent} of ${asked} peers silent`;
}

function handleOf({ decision }: HeldVerdict): number {
  return decision.handle;
}
