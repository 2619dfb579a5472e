/**
 * What happens to the peers of one shard: the latest of it goes to Redis, and all of it to those who look at a peer. Nothing waits
 * for this: events beyond a limit are dropped, and counted.
 */

import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { VerdictsSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { type PeerEvent, PeerEventKind, PeerEventSchema } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { DeadReason, SaSchema, type VerdictAck } from '../../../proto/gen/dpd/v1/types_pb.js';
import { Traced } from '../../../workers/liveness/traced.ts';
import type { Recovery, TracedEvent } from '../../../workers/shard/protocol.ts';
import { spiFromHex } from '../../api/spi.ts';
import type { Clock } from '../../base/clock.ts';
import type { ShardId } from '../../store/keys.ts';
import type { NotedEvent } from '../../store/shard/peer-history.ts';
import type { ShardRecords } from '../records/records.ts';
import { describeAnswer, describeRecovery, describeTraced, describeVerdict } from './describe.ts';

/** Events that wait for Redis, and verdicts whose answer is awaited, at most. */
const MOST_WAITING = 20_000;
/** Events written at a time: more would keep Redis and this thread from verdicts. */
const BATCH = 500;
/** A suspicion that ended well is worth a note if so many probes were sent. */
const NOTED_ATTEMPTS = 3;
const MOST_DETAIL = 512;
/** Digits of an SPI pair in hex. */
const SPI_PAIR = 32;

const KINDS = {
  [Traced.ASKED]: PeerEventKind.ASKED,
  [Traced.ANSWERED]: PeerEventKind.ANSWERED,
  [Traced.SUPPRESSED]: PeerEventKind.SUPPRESSED,
  [Traced.BLOCKED]: PeerEventKind.BLOCKED,
  [Traced.BLIND]: PeerEventKind.BLIND,
  [Traced.UNPROVEN]: PeerEventKind.UNPROVEN,
} as const satisfies Record<Traced, PeerEventKind>;

/** Told of a peer's events. */
type Watcher = { readonly peerId: string; readonly tell: (event: PeerEvent) => void };

/** What is written when its turn comes: it is put into words only then. */
type Waiting = () => NotedEvent[];

export type EventsContext = {
  readonly id: ShardId;
  readonly clock: Clock;
  readonly records: () => ShardRecords;
  readonly trace: (handles: readonly number[], on: boolean) => void;
  /** Writes them to Redis. Rejects with the error of the connection. */
  readonly write: (events: readonly NotedEvent[]) => Promise<void>;
};

export class PeerEvents {
  /** Events not written, because too many waited or Redis did not take them. */
  dropped = 0;
  readonly #context: EventsContext;
  readonly #watchers = new Set<Watcher>();
  #waiting: { readonly count: number; readonly read: Waiting }[] = [];
  #waitingCount = 0;
  /** Peers of verdicts, whose answers follow; the oldest are forgotten first. */
  readonly #peers = new Map<string, string>();

  constructor(context: EventsContext) {
    this.#context = context;
  }

  /** Verdicts are in the log. @param bytes a Verdicts message */
  logged(count: number, bytes: Buffer): void {
    this.#later(count, () =>
      fromBinary(VerdictsSchema, bytes).verdicts.map((verdict) => {
        this.#peers.set(verdict.id, verdict.peerId);
        if (this.#peers.size > MOST_WAITING) this.#peers.delete(this.#peers.keys().next().value!);
        const asked = verdict.reason === DeadReason.OPERATOR;
        return this.#event(verdict.peerId, {
          kind: asked ? PeerEventKind.CLEARED : PeerEventKind.DEAD,
          atUnixMs: verdict.history!.decidedUnixMs,
          sa: verdict.sa!,
          verdictId: verdict.id,
          detail: asked ? 'an operator has the SA deleted' : describeVerdict(verdict),
        });
      }),
    );
  }

  /** A data-plane node answered. */
  answered(ack: VerdictAck): void {
    this.#applied(ack.verdictId, () => describeAnswer(ack));
  }

  /** The same, by way of another node, which says less. */
  answeredElsewhere(verdictId: string, outcome: string): void {
    this.#applied(verdictId, () => outcome);
  }

  #applied(verdictId: string, detail: () => string): void {
    const atUnixMs = this.#now();
    this.#later(1, () => {
      const peerId = this.#peers.get(verdictId);
      if (peerId === undefined) return [];
      // A verdict's id begins with its SA.
      const sa = spiFromHex(verdictId.slice(0, SPI_PAIR));
      return [this.#event(peerId, { kind: PeerEventKind.APPLIED, atUnixMs, sa, verdictId, detail: detail() })];
    });
  }

  /** Suspicions ended well. */
  recovered(recoveries: readonly Recovery[]): void {
    for (const recovery of recoveries)
      if (recovery.wasDead || recovery.attempts >= NOTED_ATTEMPTS)
        this.#of([recovery.handle], PeerEventKind.RECOVERED, () => describeRecovery(recovery));
  }

  /** Verdicts are held back, or not any longer. */
  holding(handles: readonly number[], ended: boolean, why: string): void {
    this.#of(handles, ended ? PeerEventKind.HOLD_ENDED : PeerEventKind.HELD, () => why);
  }

  /** A thread tells of peers that someone looks at. */
  traced(events: readonly TracedEvent[]): void {
    for (const event of events) {
      const sa = this.#sa(event.handle);
      if (sa)
        this.#event(sa.peerId, {
          kind: KINDS[event.event],
          atUnixMs: BigInt(Math.round(event.atUnix)),
          sa: sa.id!,
          detail: describeTraced(event),
        });
    }
  }

  /** Tells of everything that happens to a peer's SAs, until the function returned is called. */
  watch(peerId: string, tell: (event: PeerEvent) => void): () => void {
    const watcher = { peerId, tell };
    // Events that wait are of before.
    this.#waiting = this.#waiting.map(({ count, read }) => {
      const events = read();
      return { count, read: () => events };
    });
    this.#watchers.add(watcher);
    this.traceAgain();
    return () => {
      this.#watchers.delete(watcher);
      if (!this.#isWatched(peerId)) this.#context.trace(this.handlesOf(peerId), false);
    };
  }

  /** SAs may be new: those of watched peers are traced, too. */
  traceAgain(): void {
    for (const peerId of new Set([...this.#watchers].map((watcher) => watcher.peerId)))
      this.#context.trace(this.handlesOf(peerId), true);
  }

  /** Handles of a peer's SAs. */
  handlesOf(peerId: string): number[] {
    return this.#context.records().handlesOf(peerId);
  }

  /** Writes some of what waits. Never rejects: what Redis does not take is dropped. */
  async write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const events: NotedEvent[] = [];
      while (events.length < BATCH && this.#waiting.length > 0) {
        const next = this.#waiting.shift()!;
        this.#waitingCount -= next.count;
        events.push(...next.read());
      }
      if (events.length === 0) continue;
      try {
        await this.#context.write(events);
      } catch {
        this.dropped += events.length;
        return;
      }
    }
  }

  /** Events of SAs that are here now. */
  #of(handles: readonly number[], kind: PeerEventKind, detail: () => string): void {
    const atUnixMs = this.#now();
    const room = MOST_WAITING - this.#waitingCount;
    const records = this.#context.records();
    // Its message is kept, because the SA may be gone when its turn comes.
    const kept = handles.slice(0, room).flatMap((handle) => records.encoded(handle) ?? []);
    this.dropped += handles.length - Math.min(room, handles.length);
    this.#later(kept.length, () =>
      kept.map((encoded) => {
        const { peerId, id } = fromBinary(SaSchema, encoded);
        return this.#event(peerId, { kind, atUnixMs, sa: id!, detail: detail() });
      }),
    );
  }

  /** Keeps events for Redis; at once, if someone may be waiting for them. */
  #later(count: number, read: Waiting): void {
    if (count === 0) return;
    if (this.#waitingCount + count > MOST_WAITING) {
      this.dropped += count;
      return;
    }
    const events = this.#watchers.size > 0 ? read() : undefined;
    this.#waiting.push({ count, read: events ? () => events : read });
    this.#waitingCount += count;
  }

  /** Makes an event, and tells it those who look at the peer. */
  #event(
    peerId: string,
    { detail, ...fields }: MessageInitShape<typeof PeerEventSchema> & { detail: string },
  ): NotedEvent {
    const shortened = detail.length > MOST_DETAIL ? `${detail.slice(0, MOST_DETAIL - 1)}…` : detail;
    const event = create(PeerEventSchema, { ...fields, shard: this.#context.id.shard, detail: shortened });
    for (const watcher of this.#watchers) if (watcher.peerId === peerId) watcher.tell(event);
    return { peerId, event };
  }

  #sa(handle: number) {
    return this.#context.records().get(handle);
  }

  #isWatched(peerId: string): boolean {
    return [...this.#watchers].some((watcher) => watcher.peerId === peerId);
  }

  #now(): bigint {
    return BigInt(Math.round(this.#context.clock.wall()));
  }
}
