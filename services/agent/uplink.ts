/** One shard's stream to the cluster: kept up by itself, reconciled after every reconnection and every ten seconds. */

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import {
  type ConnectShardRequest,
  ConnectShardRequestSchema,
  type ConnectShardResponse,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import type { Policy, Sa, Verdict, VerdictAckSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { always } from '../../workers/base/always.ts';

import { NO_MID } from '../../workers/sa/ids.ts';
import { spiHex } from '../api/spi.ts';
import { LIMITS } from '../api/validation.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { HeldSa, LeftOutSa, PathState, ProbeSource } from './headend/headend.ts';
import type { KnownNode } from './placement.ts';
import { type Batch, Registration } from './registration.ts';

const BACKOFF_MS = { first: 100, longest: 5_000 };
/** Longest wait from hello to the end of the inventory, ms. */
const WELCOME_MS = 30_000;
const RECONCILE_MS = 10_000;
always(BACKOFF_MS.longest < WELCOME_MS, 'whoever waits for a welcome waits longer than between attempts');
/** Batches on their way at once. */
const WINDOW = 4;

/** A stream to a node, as grpc-js gives it: the part that is used here. */
export type UplinkStream = Pick<
  ClientDuplexStream<ConnectShardRequest, ConnectShardResponse>,
  'on' | 'write' | 'end' | 'cancel'
>;
/** Opens a stream to the node at an address. */
export type StreamOpener = (address: string) => UplinkStream;

export type UplinkContext = {
  readonly open: StreamOpener;
  readonly log: Logger;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
};

export type UplinkEvents = {
  /** Address of the node to connect to now. */
  choose(): string;
  /** That node could not be reached, or broke off. */
  failed(address: string): void;
  /** The nodes that live. */
  members(members: readonly KnownNode[]): void;
  /** The inventory is complete; the shard probes from there. */
  /** @param common the policy that the cluster gives to all headends, if it gives one */
  connected(address: string, probe: ProbeSource, held: readonly HeldSa[], common: Policy | undefined): void;
  disconnected(): void;
  /** These SAs are durably in the node's care. */
  held(spis: readonly string[]): void;
  /** These SAs were told without keys, and the node has none. */
  keysWanted(spis: readonly string[]): void;
  /** An SA removed is out of the node's care. */
  released(spi: string, nextMessageId: number | undefined): void;
  verdicts(verdicts: readonly Verdict[]): void;
  /** Run these probes; call `answer` for each one that its peer answered. */
  delegated(probes: readonly { sa: Sa; answer: () => void }[]): void;
};

/** What a stream begins with; see Hello. */
type Opening = {
  readonly headend: string;
  readonly shard: number;
  readonly shards: number;
  readonly instance: string;
  readonly takeOver: boolean;
};
type Ack = MessageInitShape<typeof VerdictAckSchema>;
type Outgoing = Exclude<MessageInitShape<typeof ConnectShardRequestSchema>['message'], undefined>;

export class ShardUplink {
  readonly registration = new Registration();
  readonly #hello: Opening;
  readonly #events: UplinkEvents;
  readonly #log: Logger;
  readonly #context: UplinkContext;
  readonly #outstanding = new Map<bigint, Batch>();
  #stream: UplinkStream | undefined;
  #inSync = false;
  #batchId = 0n;
  #probe: ProbeSource = { address: '', address6: '', port: 0 };
  #common: Policy | undefined;
  /** Address of the node that the shard is with. */
  #address: string | undefined;
  #held: HeldSa[] = [];
  #leftOut: { readonly key: string; readonly sas: readonly LeftOutSa[] } = { key: '', sas: [] };
  /** Answers of this turn, sent together. */
  #acks: Ack[] = [];
  #backoffMs = BACKOFF_MS.first;
  #cancelRetry: () => void = () => {};
  #cancelWelcome: () => void = () => {};
  readonly #cancelReconcile: () => void;
  #stopped = false;
  /** Differences that a reconciliation found and repaired. */
  repairs = 0;

  constructor(hello: Opening, events: UplinkEvents, context: UplinkContext) {
    this.#hello = hello;
    this.#events = events;
    this.#context = context;
    const { headend, shard, shards } = hello;
    this.#log = context.log.child({ headend, shard, shards });
    this.#cancelReconcile = context.clock.every(RECONCILE_MS, () => this.#sendReconcile());
    // Not before the object that creates this one is complete.
    this.#cancelRetry = context.clock.after(0, () => this.#connect());
  }

  /** The stream is up and the node's inventory known. */
  get connected(): boolean {
    return this.#inSync;
  }

  /** Everything wanted is held and acknowledged. */
  get settled(): boolean {
    return this.#inSync && this.registration.isComplete && this.#outstanding.size === 0 && !this.#pumping;
  }

  upsert(sa: Sa, keysAtNode: boolean): void {
    // Later, because the caller is not finished yet.
    if (!this.registration.upsert(sa, keysAtNode))
      this.#context.clock.after(0, () => this.#events.keysWanted([spiHex(sa.id!)]));
    this.#pumpSoon();
  }

  remove(id: { initiatorSpi: bigint; responderSpi: bigint }): void {
    this.registration.remove(id);
    this.#pumpSoon();
  }

  /** All wanted SAs are registered: other SAs of the node may be removed. */
  complete(): void {
    this.registration.complete();
    this.#pumpSoon();
  }

  /**
   * Sends traffic evidence. Without a stream it is dropped, because it would be stale later. Evidence that is too old for the
   * API is dropped, too.
   */
  evidence(heard: readonly string[], sent: readonly string[], ageMs: number): void {
    if (ageMs > LIMITS.evidenceAgeMs) return;
    const handles = (spis: readonly string[]) => spis.flatMap((spi) => this.registration.handleOf(spi) ?? []);
    const heardHandles = handles(heard);
    const sentHandles = handles(sent);
    for (let n = 0; n < Math.max(heardHandles.length, sentHandles.length); n += LIMITS.evidenceHandles / 2)
      this.#send({
        case: 'evidence',
        value: {
          heardHandles: heardHandles.slice(n, n + LIMITS.evidenceHandles / 2),
          sentHandles: sentHandles.slice(n, n + LIMITS.evidenceHandles / 2),
          ageMs: Math.ceil(ageMs),
        },
      });
  }

  path(path: PathState): void {
    this.#send({ case: 'path', value: { ...path, ways: path.ways?.map((way) => ({ ...way })) ?? [] } });
  }

  /** SAs of the shard that are not registered. Sent when they change, and to each new node of the shard. */
  leftOut(sas: readonly LeftOutSa[]): void {
    const key = sas.map(({ id, why }) => `${id.initiatorSpi} ${id.responderSpi} ${why}`).join();
    if (key === this.#leftOut.key) return;
    this.#leftOut = { key, sas };
    if (this.#inSync) this.#sendLeftOut();
  }

  #sendLeftOut(): void {
    const { sas } = this.#leftOut;
    const named = sas.slice(0, LIMITS.leftOut).map(({ id, peerId, why }) => ({
      id: { ...id },
      peerId: cut(peerId, LIMITS.peerIdBytes),
      why: cut(why, LIMITS.whyBytes),
    }));
    this.#send({ case: 'leftOut', value: { sas: named, total: sas.length } });
  }

  vouch(canary: number): void {
    this.#send({ case: 'voucher', value: { canary } });
  }

  /** Answers an attempt of a verdict. Without a stream the answer is dropped: the verdict comes again. */
  acknowledge(ack: Ack): void {
    this.#acks.push(ack);
    if (this.#acks.length === 1) this.#context.clock.after(0, () => this.#sendAcks());
  }

  /** These verdicts came again while they are being applied. */
  underWay(verdicts: readonly Verdict[]): void {
    for (let n = 0; n < verdicts.length; n += LIMITS.acks) {
      const some = verdicts.slice(n, n + LIMITS.acks);
      const value = { verdictIds: some.map(({ id }) => id), attempts: some.map(({ attempt }) => attempt) };
      this.#send({ case: 'underWay', value });
    }
  }

  /** Closes the stream for good. */
  stop(): void {
    this.#stopped = true;
    this.#cancelReconcile();
    this.#cancelRetry();
    this.#cancelWelcome();
    this.#stream?.end();
    this.#stream = undefined;
  }

  /** Leaves the node for the one that is chosen now; that node gets the shard from the former one. */
  move(): void {
    const stream = this.#stream;
    if (!stream) return;
    this.#forgetStream();
    stream.end();
    this.#connect();
  }

  #connect(): void {
    const { open, clock } = this.#context;
    const address = this.#events.choose();
    const stream = open(address);
    this.#stream = stream;
    this.#address = address;
    stream.on('data', (response: ConnectShardResponse) => {
      if (stream === this.#stream) this.#receive(stream, response);
    });
    stream.on('error', (error) => this.#onLost(stream, error.message));
    stream.on('end', () => this.#onLost(stream, 'ended by the node'));
    this.#cancelWelcome = clock.after(WELCOME_MS, () => {
      stream.cancel();
      this.#onLost(stream, `no welcome within ${WELCOME_MS} ms`);
    });
    this.#send({ case: 'hello', value: this.#hello });
  }

  #onLost(stream: UplinkStream, reason: string): void {
    if (stream !== this.#stream) return;
    const { clock, random } = this.#context;
    this.#events.failed(this.#address!);
    this.#forgetStream();
    if (this.#stopped) return;
    // Full jitter: agents of one node that died do not come back in step.
    const wait = random() * this.#backoffMs;
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS.longest);
    this.#log.warn({ reason, waitMs: Math.round(wait) }, 'stream lost');
    this.#cancelRetry = clock.after(wait, () => this.#connect());
  }

  #forgetStream(): void {
    this.#cancelWelcome();
    this.#stream = undefined;
    this.#address = undefined;
    this.#inSync = false;
    this.#outstanding.clear();
    this.registration.reset();
    this.#held = [];
    this.#events.disconnected();
  }

  /** If a node sends invalid messages, the agent leaves it for another node; this does not end the agent. */
  #receive(stream: UplinkStream, response: ConnectShardResponse): void {
    try {
      this.#onResponse(response);
    } catch (error) {
      stream.cancel();
      this.#onLost(stream, `${response.message.case} not understood: ${(error as Error).message}`);
    }
  }

  #onResponse({ message }: ConnectShardResponse): void {
    switch (message.case) {
      case 'welcome':
        this.#probe = {
          address: message.value.probeAddress,
          address6: message.value.probeAddress6,
          port: message.value.probePort,
        };
        this.#common = message.value.defaultPolicy;
        this.#log.info(
          { node: message.value.node, epoch: String(message.value.epoch), held: message.value.count },
          'connected',
        );
        break;
      case 'inventory': {
        const { initiatorSpis, responderSpis, nextMessageIds, handles, revisions, complete } = message.value;
        if ([responderSpis, nextMessageIds, handles, revisions].some(({ length }) => length !== initiatorSpis.length))
          throw new RangeError('columns of unequal length');
        const unparked = new Set(message.value.unparked);
        initiatorSpis.forEach((initiatorSpi, n) => {
          this.#held.push({
            id: { initiatorSpi, responderSpi: responderSpis[n]! },
            nextMessageId: midOf(nextMessageIds[n]!),
            parked: !unparked.has(n),
          });
        });
        const keyless = this.registration.addInventory(message.value);
        if (keyless.length > 0) this.#events.keysWanted(keyless);
        if (complete) this.#synchronized();
        break;
      }
      case 'batchDone': {
        const batch = this.#answered(message.value.batchId);
        if (batch) this.registration.done(batch, message.value.handles);
        if (batch?.kind === 'upsert') this.#events.held(batch.sas.map(({ id }) => spiHex(id!)));
        if (batch?.kind === 'remove')
          batch.ids.forEach((id, n) => this.#events.released(spiHex(id), midOf(message.value.nextMessageIds[n]!)));
        this.#pump();
        break;
      }
      case 'batchRefused': {
        const batch = this.#answered(message.value.batchId);
        if (batch) this.registration.refused(batch);
        this.#pumpSoon(message.value.retryAfterMs);
        break;
      }
      case 'verdicts':
        // A verdict of another shard, or of no SA, must not be applied.
        this.#events.verdicts(message.value.verdicts.filter(({ shard, sa }) => shard === this.#hello.shard && sa));
        break;
      case 'delegatedProbes':
        this.#delegated(message.value.handles, message.value.probeIds);
        break;
      case 'reconciled':
        if (message.value.match) break;
        // The node's inventory follows, and with it the repair.
        this.repairs++;
        this.#inSync = false;
        this.#held = [];
        this.#log.warn({ held: message.value.count, wanted: this.registration.count }, 'registration differs');
        break;
      case 'members':
        this.#events.members(message.value.members);
        break;
      case 'drain':
        this.#log.info({ graceMs: message.value.graceMs }, 'the node is about to stop');
        break;
      default:
        break;
    }
  }

  #synchronized(): void {
    this.#cancelWelcome();
    this.#backoffMs = BACKOFF_MS.first;
    this.#inSync = true;
    const held = this.#held;
    this.#held = [];
    this.#events.connected(this.#address!, this.#probe, held, this.#common);
    if (this.#leftOut.sas.length > 0) this.#sendLeftOut();
    this.#pump();
  }

  #delegated(handles: readonly number[], probeIds: readonly number[]): void {
    this.#events.delegated(
      handles.flatMap((handle, n) => {
        const sa = this.registration.saOf(handle);
        const answer = () =>
          this.#send({ case: 'delegatedResults', value: { handles: [handle], probeIds: [probeIds[n]!] } });
        return sa ? [{ sa, answer }] : [];
      }),
    );
  }

  /** Lets a burst of changes gather into batches, or the node recover. */
  #pumpSoon(waitMs = 0): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#context.clock.after(waitMs, () => {
      this.#pumping = false;
      this.#pump();
    });
  }
  #pumping = false;

  #pump(): void {
    if (!this.#inSync) return;
    while (this.#outstanding.size < WINDOW) {
      const batch = this.registration.next();
      if (!batch) return;
      const batchId = ++this.#batchId;
      this.#outstanding.set(batchId, batch);
      if (batch.kind === 'upsert') this.#send({ case: 'upsert', value: { batchId, sas: [...batch.sas] } });
      else this.#send({ case: 'remove', value: { batchId, sas: batch.ids.map((id) => ({ ...id })) } });
    }
  }

  /** A batch that is not on its way any more, or undefined if it belonged to a former stream. */
  #answered(batchId: bigint): Batch | undefined {
    const batch = this.#outstanding.get(batchId);
    this.#outstanding.delete(batchId);
    return batch;
  }

  #sendAcks(): void {
    const acks = this.#acks;
    this.#acks = [];
    for (let n = 0; n < acks.length; n += LIMITS.acks)
      this.#send({ case: 'verdictAcks', value: { acks: acks.slice(n, n + LIMITS.acks) } });
  }

  #sendReconcile(): void {
    if (!this.settled) return;
    this.#send({ case: 'reconcile', value: { count: this.registration.count, hash: this.registration.hash } });
  }

  #send(message: Outgoing): void {
    this.#stream?.write(create(ConnectShardRequestSchema, { message }));
  }
}

/** The start of a text, of so many bytes at most. */
function cut(text: string, bytes: number): string {
  return Buffer.from(text)
    .subarray(0, bytes)
    .toString('utf8')
    .replace(/\uFFFD+$/, '');
}

function midOf(mid: number): number | undefined {
  return mid === NO_MID ? undefined : mid;
}
