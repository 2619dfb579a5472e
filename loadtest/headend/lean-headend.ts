/**
 * A headend for millions of spokes beside the node on one machine: it keeps a handle a spoke, and its traffic evidence is
 * encoded once and sent again and again.
 */

import { create } from '@bufbuild/protobuf';
import { type Evidence, EvidenceSchema } from '../../proto/gen/dpd/v1/headend_pb.js';
import { Outcome, type Policy, type Sa, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { shardOf } from '../../services/api/spi.ts';
import { Offset } from '../../workers/ikev2/header.ts';
import { bindUdp } from '../../workers/net/udp.ts';
import { readCanary } from '../../workers/path/canary.ts';
import { type FleetShape, saOf } from '../spokes/fleet.ts';
import { encodeRequest, RawStream } from './raw-stream.ts';

const HEADEND = 'load';

const BATCH = 1_000;
/** Batches on their way at once on each stream. */
const WINDOW = 2;
/** Handles in one evidence message. */
const EVIDENCE_BATCH = 20_000;
const REPORT_MS = 1_000;

export type Traffic = {
  /** Share of the spokes that have traffic, 0 to 1. */
  readonly share: number;
  /** Each of these is told of so often, ms, some every second. */
  readonly everyMs: number;
};

/** Handles told of together, and their message as long as they stay the same. */
type Group = { readonly handles: number[]; encoded: Uint8Array | undefined };

export class LeanHeadend {
  readonly #fleet: FleetShape;
  readonly #policy: Policy;
  readonly #streams: RawStream[];
  readonly #turns: number;
  readonly #share: number;
  /** By stream and turn. */
  readonly #groups: Group[][][];
  readonly #placeOf = new Map<number, { group: Group; handle: number }>();
  readonly #onVerdict: (verdict: Verdict) => void;
  readonly #timer: NodeJS.Timeout;
  /** Where canaries arrive: there are no rules here, so each that does is vouched for. */
  #canaries: Awaited<ReturnType<typeof bindUdp>> | undefined;
  #reports = 0;

  constructor(
    address: string,
    fleet: FleetShape,
    policy: Policy,
    traffic: Traffic,
    onVerdict: (verdict: Verdict) => void,
  ) {
    this.#fleet = fleet;
    this.#policy = policy;
    this.#share = traffic.share;
    this.#turns = Math.max(1, Math.round(traffic.everyMs / REPORT_MS));
    this.#onVerdict = onVerdict;
    this.#streams = Array.from({ length: fleet.shards }, () => new RawStream(address));
    this.#groups = this.#streams.map(() => Array.from({ length: this.#turns }, () => []));
    this.#timer = setInterval(() => this.#report(), REPORT_MS / fleet.shards);
  }

  /**
   * Registers every spoke, and reports traffic as soon as the node holds a spoke. Rejects if a stream ends.
   * @param mortal spokes that may be silenced later
   */
  async register(mortal: ReadonlySet<number>): Promise<void> {
    const spokes = this.#streams.map(() => [] as number[]);
    const gathered = this.#streams.map(() => [] as Sa[]);
    const waiting = this.#streams.map(() => [] as { spokes: number[]; bytes: Uint8Array }[]);
    const pack = (shard: number) => {
      const value = { batchId: 0n, sas: gathered[shard]! };
      waiting[shard]!.push({ spokes: spokes[shard]!, bytes: encodeRequest({ case: 'upsert', value }) });
      spokes[shard] = [];
      gathered[shard] = [];
    };
    let next = 0;
    /** Makes SAs until this shard has a batch, or there are no more. */
    const batchFor = (shard: number) => {
      while (waiting[shard]!.length === 0 && next < this.#fleet.count) {
        const spoke = next++;
        const sa = saOf(this.#fleet, spoke, 0, this.#policy);
        const to = shardOf(sa.id!.responderSpi, this.#fleet.shards);
        spokes[to]!.push(spoke);
        if (gathered[to]!.push(sa) === BATCH) pack(to);
      }
      if (waiting[shard]!.length === 0 && gathered[shard]!.length > 0) pack(shard);
      return waiting[shard]!.shift();
    };
    this.#canaries = await bindUdp('127.0.0.1', 0);
    this.#canaries.on('message', (datagram) => this.#vouch(datagram));
    await Promise.all(this.#streams.map((stream, shard) => this.#load(stream, shard, () => batchFor(shard), mortal)));
  }

  /** The spoke's traffic ends. */
  silence(spoke: number): void {
    const place = this.#placeOf.get(spoke);
    if (!place) return;
    place.group.handles.splice(place.group.handles.indexOf(place.handle), 1);
    place.group.encoded = undefined;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#canaries?.close();
    for (const stream of this.#streams) stream.close();
  }

  #load(
    stream: RawStream,
    shard: number,
    nextBatch: () => { spokes: number[]; bytes: Uint8Array } | undefined,
    mortal: ReadonlySet<number>,
  ): Promise<void> {
    const done = Promise.withResolvers<void>();
    const sent: number[][] = [];
    const pump = () => {
      while (sent.length < WINDOW) {
        const batch = nextBatch();
        if (!batch) break;
        sent.push(batch.spokes);
        stream.send(batch.bytes);
      }
      if (sent.length === 0) done.resolve();
    };
    stream.onMessage((message) => {
      if (message.case === 'inventory' && message.value.complete) {
        const { address, port } = this.#canaries!.address();
        stream.tell({ case: 'path', value: { ready: true, canaryAddress: address, canaryPort: port } });
        pump();
      } else if (message.case === 'batchDone') {
        this.#held(shard, sent.shift()!, message.value.handles, mortal);
        pump();
      } else if (message.case === 'batchRefused') done.reject(new Error('a batch was refused: Redis did not take it'));
      else if (message.case === 'verdicts') this.#take(stream, message.value.verdicts);
    });
    stream.onFailure(done.reject);
    stream.tell({ case: 'hello', value: { headend: HEADEND, shard, shards: this.#fleet.shards } });
    return done.promise;
  }

  #vouch(datagram: Buffer): void {
    const canary = readCanary(datagram);
    const stream = canary && this.#streams[datagram.readUInt32BE(Offset.SPI_R + 4)];
    stream?.tell({ case: 'voucher', value: { canary: canary!.number } });
  }

  #held(shard: number, spokes: readonly number[], handles: readonly number[], mortal: ReadonlySet<number>): void {
    spokes.forEach((spoke, n) => {
      if (spoke % 100 >= this.#share * 100) return;
      const groups = this.#groups[shard]![Math.floor(spoke / 100) % this.#turns]!;
      let group = groups.at(-1);
      if (!group || group.handles.length === EVIDENCE_BATCH) {
        group = { handles: [], encoded: undefined };
        groups.push(group);
      }
      group.handles.push(handles[n]!);
      group.encoded = undefined;
      if (mortal.has(spoke)) this.#placeOf.set(spoke, { group, handle: handles[n]! });
    });
  }

  /** One stream at a time, as those of several headends. */
  #report(): void {
    const { length } = this.#streams;
    const shard = this.#reports % length;
    const turn = Math.floor(this.#reports++ / length) % this.#turns;
    for (const group of this.#groups[shard]![turn]!) {
      group.encoded ??= encodeRequest({ case: 'evidence', value: heard(group.handles) });
      this.#streams[shard]!.send(group.encoded);
    }
  }

  #take(stream: RawStream, verdicts: readonly Verdict[]): void {
    const acks = verdicts.map(({ id, attempt }) => ({ verdictId: id, attempt, outcome: Outcome.CLEARED }));
    stream.tell({ case: 'verdictAcks', value: { acks } as never });
    for (const verdict of verdicts) this.#onVerdict(verdict);
  }
}

function heard(handles: readonly number[]): Evidence {
  return create(EvidenceSchema, { heardHandles: [...handles], sentHandles: [...handles] });
}
