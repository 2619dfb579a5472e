/**
 * The verdicts of one shard, from the thread's decision to the headend's stream: held back if too many come at once,
 * written to the log, sent on the stream, and sent again when due. A verdict is taken back if the peer answers in time.
 */

import { create, fromBinary } from '@bufbuild/protobuf';
import { Guard, GuardActionSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import type { Recovery } from '../../../workers/shard/protocol.ts';
import { askedAt, handleAt, verdictCount } from '../../../workers/shard/verdict-rows.ts';
import { spiHex } from '../../api/spi.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Outages } from '../../base/seldom.ts';
import type { ShardId } from '../../store/keys.ts';
import type { RedisClient } from '../../store/redis/redis.ts';
import { attemptName, type ShardStore } from '../../store/shard/shard-store.ts';
import type { SuspicionTraces } from '../../telemetry/traces.ts';
import type { PeerEvents } from '../events/peer-events.ts';
import type { ShardRecords } from '../records/records.ts';
import { Decision } from './decision.ts';
import { type HeldVerdict, HeldVerdicts, type HoldSettings } from './held-verdicts.ts';
import { Redelivery } from './redelivery.ts';
import { describeStorm, type StormGuard, type StormReason } from './storm-guard.ts';
import { type LoggedVerdicts, VerdictWriter } from './verdict-writer.ts';

/** How many of the peers found dead at once are named in the log. */
const NAMED = 20;
/** Verdicts delivered with one message, at most. */
const BATCH = 200;

export type DeskContext = {
  readonly id: ShardId;
  readonly store: ShardStore;
  readonly redis: RedisClient;
  readonly clock: Clock;
  readonly traces: SuspicionTraces;
  readonly log: Logger;
  readonly outages: Outages;
  readonly storm: StormGuard;
  readonly hold: HoldSettings;
};

/** The desk's way to the shard's other parts. */
export type DeskEvents = {
  records(): ShardRecords;
  hold(handles: readonly number[]): void;
  /** @param asked the verdicts stand; else the peers are asked anew */
  endHold(handles: readonly number[], asked: boolean): void;
  /** @param verdicts a Verdicts message */
  deliver(verdicts: Uint8Array): void;
  /** Verdicts are in the log, and no more are about to be. */
  logged(): void;
  /** What happens to peers is told; undefined: nobody wants to know. */
  readonly events?: PeerEvents | undefined;
  fenced(): void;
};

export class VerdictDesk {
  readonly held: HeldVerdicts;
  readonly #context: DeskContext;
  readonly #events: DeskEvents;
  readonly #writer: VerdictWriter;
  /** Of the present stream. */
  #redelivery = new Redelivery();

  constructor(context: DeskContext, events: DeskEvents) {
    this.#context = context;
    this.#events = events;
    this.held = new HeldVerdicts(context.hold, context.clock);
    this.#writer = new VerdictWriter(context, {
      logged: (verdicts) => {
        this.#deliver(verdicts);
        events.events?.logged(verdicts.ids.length, verdicts.bytes);
      },
      idle: () => events.logged(),
      fenced: () => events.fenced(),
    });
  }

  /** Verdicts that wait for Redis. */
  get waiting(): number {
    return this.#writer.waiting;
  }

  /**
   * The thread gave verdicts: they are written, unless so many come together that they are held back.
   * @param rows see verdict-rows.ts
   */
  judge(rows: Float64Array): void {
    const held = new Map<StormReason, number[]>();
    const given: Decision[] = [];
    const records = this.#events.records();
    const stormReason = this.#stormReasons();
    for (let row = 0; row < verdictCount(rows); row++) {
      const handle = handleAt(rows, row);
      if (!records.has(handle)) continue;
      const site = records.site(handle);
      const decision = new Decision(records, rows, row);
      const asked = askedAt(rows, row);
      // An operator decides on a verdict that is held, too.
      if (asked) this.held.cancel(handle);
      const reason = asked || this.held.expired(handle) ? undefined : stormReason(site);
      if (reason) {
        this.held.add({ decision, site, reason });
        const some = held.get(reason);
        if (some) some.push(handle);
        else held.set(reason, [handle]);
      } else {
        this.#give(decision, this.held.confirm(handle), true);
        given.push(decision);
      }
    }
    this.#name(given);
    if (held.size === 0) return;
    const handles = [...held.values()].flat();
    this.#events.hold(handles);
    for (const [reason, some] of held) this.#events.events?.holding(some, false, describeStorm(reason));
    this.#context.log.warn(
      { verdicts: handles.length, held: this.held.count },
      'too many deaths at once: verdicts held',
    );
  }

  /**
   * Peers answered: a verdict that is not written yet is taken back; if it is in the log, the SA counts as alive again.
   */
  recovered(recoveries: readonly Recovery[]): void {
    const { id, traces, log } = this.#context;
    const records = this.#events.records();
    this.#events.events?.recovered(recoveries);
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

  /** Releases held verdicts whose time has come. Call once a second. */
  sweepHeld(): void {
    if (this.held.count === 0) return;
    const stormReason = this.#stormReasons();
    const { ask, give, drop } = this.held.sweep(({ site }) => stormReason(site) !== undefined);
    if (ask.length + give.length + drop.length === 0) return;
    this.#events.endHold([...ask, ...drop].map(handleOf), false);
    this.#events.endHold(give.map(handleOf), true);
    for (const held of give) this.#give(held.decision, held, false);
    this.#events.events?.holding(ask.map(handleOf), true, 'asked anew, with all retries');
    this.#events.events?.holding(drop.map(handleOf), true, 'dropped: suspected anew');
    this.#events.events?.holding(give.map(handleOf), true, 'given by an operator');
    this.#context.log.warn(
      { asked: ask.length, given: give.length, dropped: drop.length, held: this.held.count },
      'held verdicts swept',
    );
  }

  /** Nothing has been delivered on the headend's new stream yet. */
  newStream(): void {
    this.#redelivery = new Redelivery();
  }

  /** Delivers what waits for its acknowledgement and is due: see {@link Redelivery}. Rejects as the store does. */
  async deliverAgain(): Promise<void> {
    // Not during a burst, because its verdicts are delivered as they are written.
    if (this.#writer.flowing) return;
    const { store, clock } = this.#context;
    const redelivery = this.#redelivery;
    const begunAt = clock.now();
    const waiting = await store.listUnacked();
    const turn = redelivery.turn(waiting.keys(), begunAt).map((name) => ({ name, id: waiting.get(name)! }));
    const read = await store.readUnacked(turn.filter(({ id }) => !this.#writer.unconfirmed(id)));
    // If a new stream has begun meanwhile, it does this itself. Otherwise some of these may have been delivered meanwhile.
    if (redelivery !== this.#redelivery) return;
    const verdicts = read.filter(({ name }) => redelivery.isDue(name, begunAt));
    for (let n = 0; n < verdicts.length; n += BATCH) {
      const some = verdicts.slice(n, n + BATCH);
      this.#deliver({ ids: some.map(({ name }) => name), bytes: Buffer.concat(some.map(({ bytes }) => bytes)) });
    }
  }

  /** The headend is at work on this attempt: it need not come again on this stream. */
  underWay(id: string, attempt: number): void {
    this.#redelivery.underWay(attemptName(id, attempt), this.#context.clock.now());
  }

  /** The headend's answer to this attempt was not stored: it is asked for again. */
  answerLost(id: string, attempt: number): void {
    this.#redelivery.answerLost(attemptName(id, attempt));
  }

  /** The headend has answered an attempt. @param over whether the failover ends with that */
  acknowledged(id: string, outcome: string, over: boolean): void {
    this.#writer.acknowledged(id, outcome, over);
  }

  /** Whether this owner has written a verdict on this SA to the log, or is about to. */
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

  /** Logs the dead peers; if there are many, only the first. */
  #name(given: readonly Decision[]): void {
    for (const { sa, verdict } of given.slice(0, NAMED)) {
      const peer = sa && fromBinary(SaSchema, sa);
      if (!peer) continue;
      const { asked, lastEvidenceUnix, decidedUnix, probesSent } = verdict;
      const facts = { peer: peer.peerId, sa: spiHex(peer.id!) };
      if (asked > 0) {
        this.#context.log.warn(facts, 'an operator has the SA deleted');
        continue;
      }
      const silentS = Math.round((decidedUnix - lastEvidenceUnix) / 1_000);
      const reason = `${probesSent} probes without an answer, and nothing heard for ${silentS} s`;
      this.#context.log.warn({ ...facts, reason }, 'peer is dead');
    }
    if (given.length > NAMED) this.#context.log.warn({ verdicts: given.length - NAMED }, 'more peers are dead');
  }

  /** Hands a verdict to the writer. @param held how it was held before @param asked its peer was asked anew since */
  #give(decision: Decision, held: HeldVerdict | undefined, asked: boolean): void {
    if (!held) {
      this.#writer.add(decision);
      return;
    }
    const ms = BigInt(Math.round(this.#context.clock.now() - held.sinceMs));
    const how = asked ? `asked anew ${decision.verdict.probesSent} times since` : 'given by an operator';
    const reason = `${describeStorm(held.reason)}; ${how}`;
    this.#writer.add(decision, create(GuardActionSchema, { guard: Guard.STORM_HOLD, ms, reason }));
  }

  #deliver({ ids, bytes }: LoggedVerdicts): void {
    const now = this.#context.clock.now();
    for (const id of ids) this.#redelivery.delivered(id, now);
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

function handleOf({ decision }: HeldVerdict): number {
  return decision.handle;
}
