/** The headend's stream: one per shard. Messages are taken in order, each done before the next is read. */

import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import {
  type ConnectShardRequest,
  ConnectShardRequestSchema,
  type ConnectShardResponse,
  ConnectShardResponseSchema,
  type Path,
} from '../../../../proto/gen/dpd/v1/headend_pb.js';
import { always } from '../../../../workers/base/always.ts';
import { NAT_T_PORT } from '../../../../workers/ikev2/header.ts';
import type { ShardPath } from '../../../../workers/path/ways.ts';
import { ApiError, rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { WireWriter } from '../../../api/grpc/wire.ts';
import { applyPresets } from '../../../api/policy/merge.ts';
import * as validate from '../../../api/validation.ts';
import type { Claim } from '../../../store/cluster/bus.ts';
import { authorize } from '../../access/methods.ts';
import type { ClusterNode } from '../../cluster/cluster-node.ts';
import { MOST_POLICIES } from '../../records/sa-store.ts';
import type { HostedShard, Neighbour, ShardStream } from '../../shard/hosted-shard.ts';
import type { ApiContext, Caller } from '../context.ts';
import { encodeInventory } from './inventory.ts';
import { upsertBytes } from './upsert-bytes.ts';

const HELLO_MS = 10_000;
const INVENTORY_BATCH = 5_000;
/** A batch that Redis did not take may come again after this, ms. */
const RETRY_AFTER_MS = 500;
/** Redis fails over in less time, ms. A node without Redis for longer sends its headends elsewhere. */
const REDIS_PATIENCE_MS = 20_000;
always(RETRY_AFTER_MS < REDIS_PATIENCE_MS, 'a batch is tried again before the stream ends');
/** Requests beyond this take their turn; see {@link ClusterNode.limitLarge}. */
const LARGE_BYTES = 16_384;
/** Messages that a headend may leave unread; beyond it the stream ends, and verdicts come again on the next. */
const MAX_UNREAD = 10_000;
const VERDICTS = ConnectShardResponseSchema.field.verdicts.number;

/** Requests arrive encoded, and are decoded one at a time: so waiting requests take no more memory than on the wire. */
export type ConnectShardCall = ServerDuplexStream<Buffer, ConnectShardResponse | Uint8Array>;

/** Serves one ConnectShard call to its end. Rejects with the error that ends it. */
export function connectShard(
  { cluster }: Pick<ApiContext, 'cluster'>,
  caller: Caller,
  call: ConnectShardCall,
): Promise<void> {
  return new HeadendStream(cluster, caller, call).run();
}

class HeadendStream implements ShardStream {
  claim: Claim = { instance: '', takeOver: false };
  readonly #cluster: ClusterNode;
  readonly #caller: Caller;
  readonly #call: ConnectShardCall;
  #host: HostedShard | undefined;
  readonly #response = new WireWriter();
  /** The error that ends the stream from outside, and the function to call then. */
  #failure: Error | undefined;
  #interrupt: (failure: Error) => void = () => {};

  constructor(cluster: ClusterNode, caller: Caller, call: ConnectShardCall) {
    this.#cluster = cluster;
    this.#caller = caller;
    this.#call = call;
  }

  get address(): string {
    return this.#caller.address;
  }

  async run(): Promise<void> {
    const call = this.#call;
    call.on('cancelled', () => call.destroy());
    const hello = setTimeout(() => this.#fail(status.DEADLINE_EXCEEDED, `no hello within ${HELLO_MS} ms`), HELLO_MS);
    // An iterator would destroy the call at the end of the requests; then its status could not be sent any more.
    const requests = call.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
    try {
      for (;;) {
        const next = await this.#orFailure(requests.next());
        if (next.done) return;
        const request = next.value;
        const handle = () => this.#handle(request);
        await this.#orFailure(request.length > LARGE_BYTES ? this.#cluster.limitLarge(handle) : handle());
        clearTimeout(hello);
      }
    } catch (error) {
      // A call that its client cancelled reads as an aborted stream.
      if (!call.cancelled) throw error;
    } finally {
      clearTimeout(hello);
      this.#host?.detach(this);
    }
  }

  verdicts(verdicts: Uint8Array): void {
    this.#response.bytes(VERDICTS, verdicts);
    this.#send(this.#response.finish());
  }

  delegatedProbes(handles: Uint32Array, probeIds: Uint32Array): void {
    this.#write({ case: 'delegatedProbes', value: { handles: [...handles], probeIds: [...probeIds] } });
  }

  members(members: readonly Neighbour[]): void {
    this.#write({ case: 'members', value: { members: members.map((member) => ({ ...member })) } });
  }

  drain(graceMs: number): void {
    this.#write({ case: 'drain', value: { graceMs } });
  }

  end(reason: string): void {
    this.#fail(status.ABORTED, reason);
  }

  #fail(code: status, reason: string): void {
    this.#failure ??= new ApiError(code, reason);
    this.#interrupt(this.#failure);
  }

  /** Like Promise.race, but that would keep a reaction to each message for as long as the stream lives. */
  #orFailure<T>(work: Promise<T>): Promise<T> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#interrupt = reject;
      work.then(resolve, reject);
    });
  }

  #write(message: Exclude<MessageInitShape<typeof ConnectShardResponseSchema>['message'], undefined>): void {
    this.#send(create(ConnectShardResponseSchema, { message }));
  }

  #send(response: ConnectShardResponse | Uint8Array): void {
    if (this.#call.writableLength > MAX_UNREAD)
      this.#fail(status.RESOURCE_EXHAUSTED, `${MAX_UNREAD} messages unread by the headend`);
    this.#call.write(response);
  }

  async #handle(request: Buffer): Promise<void> {
    const { message } = decode(request);
    if (message.case === 'hello') {
      if (this.#host) throw new ApiError(status.FAILED_PRECONDITION, 'hello: already received on this stream');
      rejectIfInvalid(validate.checkHello(message.value));
      authorize('connectShard', this.#caller, message.value.headend);
      const { instance, takeOver } = message.value;
      this.claim = { instance, takeOver };
      this.#host = await this.#cluster.openShard(message.value, this);
      await this.#welcome(this.#host);
      return;
    }
    const host = this.#host;
    if (!host) throw new ApiError(status.FAILED_PRECONDITION, 'hello: must be the first message');
    const door = { shard: host.id.shard, shards: host.shards, loopback: this.#cluster.loopback };
    switch (message.case) {
      case 'upsert': {
        const presets = applyPresets(message.value.sas);
        rejectIfInvalid(validate.checkUpsert(message.value, door));
        this.#cluster.admit(host.id.headend, message.value.sas.filter(({ id }) => host.records.find(id!) < 0).length);
        if (!host.records.takesPolicies(message.value.sas))
          throw new ApiError(status.RESOURCE_EXHAUSTED, `upsert.sas: more than ${MOST_POLICIES} policies in one shard`);
        const bytes = upsertBytes(request, message.value.sas, presets);
        rejectIfInvalid(validate.checkSizes(bytes));
        const { batchId, sas } = message.value;
        try {
          await this.#store(host, batchId, async () => ({ handles: await host.upsert(sas, bytes) }));
        } finally {
          // Parts of the request: the thread has copies of its own.
          for (const { keys } of bytes) keys?.fill(0);
        }
        break;
      }
      case 'remove': {
        rejectIfInvalid(validate.checkRemove(message.value, door));
        const { batchId, sas } = message.value;
        await this.#store(host, batchId, async () => ({ nextMessageIds: await host.remove(sas) }));
        break;
      }
      case 'evidence':
        rejectIfInvalid(validate.checkEvidence(message.value));
        host.evidence(message.value.heardHandles, message.value.sentHandles, message.value.ageMs);
        break;
      case 'delegatedResults':
        rejectIfInvalid(validate.checkDelegatedResults(message.value));
        host.delegatedResults(message.value.handles, message.value.probeIds);
        break;
      case 'verdictAcks':
        rejectIfInvalid(validate.checkAcks(message.value));
        // If Redis does not take acknowledgements, their verdicts are delivered again to get new ones.
        await this.#cluster.acknowledge(host.id, message.value.acks).catch(() => {
          for (const { verdictId, attempt } of message.value.acks) host.verdicts.answerLost(verdictId, attempt);
        });
        break;
      case 'underWay':
        rejectIfInvalid(validate.checkUnderWay(message.value));
        message.value.verdictIds.forEach((id, n) => host.verdicts.underWay(id, message.value.attempts[n]!));
        break;
      case 'leftOut':
        rejectIfInvalid(validate.checkLeftOut(message.value));
        host.leftOut = message.value;
        break;
      case 'reconcile': {
        const { count, hash } = host.records.set;
        const match = message.value.count === count && message.value.hash === hash;
        this.#write({ case: 'reconciled', value: { match, count, hash } });
        if (!match) await this.#inventory(host);
        break;
      }
      case 'path': {
        rejectIfInvalid(validate.checkPath(message.value, door));
        host.setPath(toShardPath(message.value));
        break;
      }
      case 'voucher':
        host.vouch(message.value.canary);
        break;
      default:
        throw new ApiError(status.INVALID_ARGUMENT, 'message: none of the known kinds is set', [
          { field: 'message', description: 'none of the known kinds is set' },
        ]);
    }
  }

  /** Does a batch, and reports it. If Redis does not take it, the batch is refused; if that goes on for long, the stream ends. */
  async #store(
    host: HostedShard,
    batchId: bigint,
    work: () => Promise<{ handles: number[] } | { nextMessageIds: number[] }>,
  ): Promise<void> {
    try {
      this.#write({ case: 'batchDone', value: { batchId, ...(await work()) } });
    } catch (error) {
      if (error instanceof ApiError) throw error;
      const { name, message: reason } = error as Error;
      if (host.withoutRedisMs >= REDIS_PATIENCE_MS) throw new ApiError(status.UNAVAILABLE, `not stored: ${name}`);
      this.#cluster.outages.warn({ ...host.id, reason }, 'batch refused');
      this.#write({ case: 'batchRefused', value: { batchId, retryAfterMs: RETRY_AFTER_MS } });
    }
  }

  async #welcome(host: HostedShard): Promise<void> {
    const { count, hash } = host.records.set;
    this.#write({
      case: 'welcome',
      value: {
        node: this.#cluster.id,
        epoch: BigInt(host.epoch),
        count,
        hash,
        probePort: host.probePort,
        probeAddress: this.#cluster.probeAdvertised.v4,
        probeAddress6: this.#cluster.probeAdvertised.v6,
        ...(this.#cluster.defaultPolicy && { defaultPolicy: this.#cluster.defaultPolicy }),
      },
    });
    this.members(this.#cluster.neighbours());
    await this.#inventory(host);
    await host.look();
  }

  async #inventory(host: HostedShard): Promise<void> {
    const handles = [...host.records.handles()];
    for (let n = 0; n === 0 || n < handles.length; n += INVENTORY_BATCH) {
      const batch = handles.slice(n, n + INVENTORY_BATCH);
      const known = await host.inventoried(batch);
      this.#send(encodeInventory(host.records, batch, known, n + INVENTORY_BATCH >= handles.length));
    }
  }
}

function decode(request: Buffer): ConnectShardRequest {
  try {
    return fromBinary(ConnectShardRequestSchema, request);
  } catch (error) {
    const description = `not a ConnectShardRequest: ${(error as Error).message}`;
    throw new ApiError(status.INVALID_ARGUMENT, description, [{ field: 'message', description }]);
  }
}

/** A path in the form that the shard needs: a path that names no ways gets one way for all. */
function toShardPath({ guarded, ready, returning, canaryAddress, canaryPort, ways }: Path): ShardPath {
  if (!ready) return { guarded, ready, returning, ways: [] };
  if (ways.length === 0)
    return {
      guarded,
      ready,
      returning,
      ways: [{ local: '', ikePort: NAT_T_PORT, index: 0, canaryAddress, canaryPort }],
    };
  return {
    guarded,
    ready,
    returning,
    ways: ways.map(({ localAddress, localPort, index, canaryAddress: address, canaryPort: port }) => ({
      local: localAddress,
      ikePort: localPort || NAT_T_PORT,
      index,
      canaryAddress: address,
      canaryPort: port,
    })),
  };
}
