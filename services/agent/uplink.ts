/** One shard's stream to the cluster: kept up by itself, reconciled after every reconnection and every ten seconds. */

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import {
  type ConnectShardRequest,
  ConnectShardRequestSchema,
  type ConnectShardResponse,
  HeadendService,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import type { Sa, Verdict, VerdictAck } from '../../proto/gen/dpd/v1/types_pb.js';
import { NO_MID } from '../../workers/protocol.ts';
import type { ApiClient } from '../grpc/client.ts';
import type { Logger } from '../log.ts';
import { spiHex } from '../spi.ts';
import type { HeldSa, PathState } from './dataplane.ts';
import { type Batch, Registration } from './registration.ts';

const BACKOFF_MS = { first: 100, longest: 5_000 };
/** Longest wait from hello to the end of the inventory, ms. */
const WELCOME_MS = 30_000;
const RECONCILE_MS = 10_000;
/** Batches on their way at once. */
const WINDOW = 4;
/** Handles in one evidence message; the API's limit. */
const EVIDENCE_BATCH = 100_000;

export type UplinkEvents = {
  /** The inventory is complete; the shard probes from this port. */
  connected(probePort: number, held: readonly HeldSa[]): void;
  disconnected(): void;
  /** These SAs are durably in the node's care. */
  held(spis: readonly string[]): void;
  /** An SA removed is out of the node's care. */
  released(spi: string, nextMessageId: number | undefined): void;
  verdicts(verdicts: readonly Verdict[]): void;
  /** Run these probes; `answer` each that the peer answered. */
  delegated(probes: readonly { sa: Sa; answer: () => void }[]): void;
};

type Stream = ClientDuplexStream<ConnectShardRequest, ConnectShardResponse>;
type Outgoing = Exclude<MessageInitShape<typeof ConnectShardRequestSchema>['message'], undefined>;

export class ShardUplink {
  readonly registration = new Registration();
  readonly #client: ApiClient;
  readonly #hello: { headend: string; shard: number; shards: number };
  readonly #events: UplinkEvents;
  readonly #log: Logger;
  readonly #outstanding = new Map<bigint, Batch>();
  #stream: Stream | undefined;
  #inSync = false;
  #batchId = 0n;
  #probePort = 0;
  #held: HeldSa[] = [];
  #backoffMs = BACKOFF_MS.first;
  #retry: NodeJS.Timeout | undefined;
  #welcome: NodeJS.Timeout | undefined;
  readonly #reconcile: NodeJS.Timeout;
  #stopped = false;
  /** Differences that a reconciliation found and repaired. */
  repairs = 0;

  constructor(
    client: ApiClient,
    hello: { headend: string; shard: number; shards: number },
    events: UplinkEvents,
    log: Logger,
  ) {
    this.#client = client;
    this.#hello = hello;
    this.#events = events;
    this.#log = log.child(hello);
    this.#reconcile = setInterval(() => this.#sendReconcile(), RECONCILE_MS);
    this.#connect();
  }

  /** Everything wanted is held and acknowledged. */
  get settled(): boolean {
    return this.#inSync && this.registration.isComplete && this.#outstanding.size === 0 && this.#pumping === undefined;
  }

  upsert(sa: Sa): void {
    this.registration.upsert(sa);
    this.#pumpSoon();
  }

  remove(id: { initiatorSpi: bigint; responderSpi: bigint }): void {
    this.registration.remove(id);
    this.#pumpSoon();
  }

  /** Everything wanted has been told: what the node holds beyond it may go. */
  complete(): void {
    this.registration.complete();
    this.#pumpSoon();
  }

  /** Sends traffic evidence; without a stream it is dropped, for it would be stale later. */
  evidence(heard: readonly string[], sent: readonly string[], ageMs: number): void {
    const handles = (spis: readonly string[]) => spis.flatMap((spi) => this.registration.handleOf(spi) ?? []);
    const heardHandles = handles(heard);
    const sentHandles = handles(sent);
    for (let n = 0; n < Math.max(heardHandles.length, sentHandles.length); n += EVIDENCE_BATCH / 2)
      this.#send({
        case: 'evidence',
        value: {
          heardHandles: heardHandles.slice(n, n + EVIDENCE_BATCH / 2),
          sentHandles: sentHandles.slice(n, n + EVIDENCE_BATCH / 2),
          ageMs,
        },
      });
  }

  path(path: PathState): void {
    this.#send({ case: 'path', value: path });
  }

  vouch(canary: number): void {
    this.#send({ case: 'voucher', value: { canary } });
  }

  acknowledge(
    acks: readonly MessageInitShape<typeof import('../../proto/gen/dpd/v1/types_pb.js').VerdictAckSchema>[],
  ): void {
    this.#send({ case: 'verdictAcks', value: { acks: acks as VerdictAck[] } });
  }

  /** Closes the stream for good. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#reconcile);
    clearTimeout(this.#retry);
    clearTimeout(this.#welcome);
    this.#stream?.end();
    this.#stream = undefined;
  }

  #connect(): void {
    const stream = this.#client.duplex(HeadendService.method.connectShard);
    this.#stream = stream;
    stream.on('data', (response: ConnectShardResponse) => {
      if (stream === this.#stream) this.#take(response);
    });
    stream.on('error', (error) => this.#lost(stream, error.message));
    stream.on('end', () => this.#lost(stream, 'ended by the node'));
    this.#welcome = setTimeout(() => {
      stream.cancel();
      this.#lost(stream, `no welcome within ${WELCOME_MS} ms`);
    }, WELCOME_MS);
    this.#send({ case: 'hello', value: this.#hello });
  }

  #lost(stream: Stream, reason: string): void {
    if (stream !== this.#stream) return;
    clearTimeout(this.#welcome);
    this.#stream = undefined;
    this.#inSync = false;
    this.#outstanding.clear();
    this.registration.reset();
    this.#held = [];
    this.#events.disconnected();
    if (this.#stopped) return;
    // Full jitter: agents of one node that died do not come back in step.
    const wait = Math.random() * this.#backoffMs;
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS.longest);
    this.#log.warn({ reason, waitMs: Math.round(wait) }, 'stream lost');
    this.#retry = setTimeout(() => this.#connect(), wait);
  }

  #take({ message }: ConnectShardResponse): void {
    switch (message.case) {
      case 'welcome':
        this.#probePort = message.value.probePort;
        this.#log.info(
          { node: message.value.node, epoch: String(message.value.epoch), held: message.value.count },
          'connected',
        );
        break;
      case 'inventory': {
        const { initiatorSpis, responderSpis, nextMessageIds, complete } = message.value;
        initiatorSpis.forEach((initiatorSpi, n) => {
          this.#held.push({
            id: { initiatorSpi, responderSpi: responderSpis[n]! },
            nextMessageId: midOf(nextMessageIds[n]!),
          });
        });
        this.registration.takeInventory(message.value);
        if (complete) this.#synchronized();
        break;
      }
      case 'batchDone': {
        const batch = this.#outstanding.get(message.value.batchId);
        this.#outstanding.delete(message.value.batchId);
        if (batch) this.registration.done(batch, message.value.handles);
        if (batch?.kind === 'upsert') this.#events.held(batch.sas.map(({ id }) => spiHex(id!)));
        if (batch?.kind === 'remove')
          batch.ids.forEach((id, n) => this.#events.released(spiHex(id), midOf(message.value.nextMessageIds[n]!)));
        this.#pump();
        break;
      }
      case 'verdicts':
        this.#events.verdicts(message.value.verdicts);
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
      case 'drain':
        this.#log.info({ graceMs: message.value.graceMs }, 'the node is about to stop');
        break;
      default:
        break;
    }
  }

  #synchronized(): void {
    clearTimeout(this.#welcome);
    this.#backoffMs = BACKOFF_MS.first;
    this.#inSync = true;
    const held = this.#held;
    this.#held = [];
    this.#events.connected(this.#probePort, held);
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

  /** Lets a burst of changes gather into batches. */
  #pumpSoon(): void {
    this.#pumping ??= setImmediate(() => {
      this.#pumping = undefined;
      this.#pump();
    });
  }
  #pumping: NodeJS.Immediate | undefined;

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

  #sendReconcile(): void {
    if (!this.settled) return;
    this.#send({ case: 'reconcile', value: { count: this.registration.count, hash: this.registration.hash } });
  }

  #send(message: Outgoing): void {
    this.#stream?.write(create(ConnectShardRequestSchema, { message }));
  }
}

function midOf(mid: number): number | undefined {
  return mid === NO_MID ? undefined : mid;
}
