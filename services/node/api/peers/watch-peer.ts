/** WatchPeer: every event of a peer, live. */

import { once } from 'node:events';
import { create } from '@bufbuild/protobuf';
import { type ServerWritableStream, status } from '@grpc/grpc-js';
import {
  type PeerEvent,
  type WatchPeerRequest,
  type WatchPeerResponse,
  WatchPeerResponseSchema,
} from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { ApiError, rejectIfInvalid } from '../../../api/grpc/errors.ts';
import { checkHeadendName, checkPeerId } from '../../../api/validation.ts';
import { authorize } from '../../access/methods.ts';
import type { ApiContext, Caller } from '../context.ts';
import { notHere } from './not-here.ts';

/** Peers looked at on one node at the same time, at most. */
const MOST_WATCHES = 16;
/** Events that wait for one caller, at most; further ones are lost. */
const MOST_WAITING = 1_000;
/** Longest wait for a caller that does not read, ms. */
const DRAIN_MS = 30_000;

export type WatchPeerCall = ServerWritableStream<WatchPeerRequest, WatchPeerResponse>;

/** Those who look at peers of one node. */
export class PeerWatches {
  readonly #context: ApiContext;
  #open = 0;

  constructor(context: ApiContext) {
    this.#context = context;
  }

  /** Sends events until the caller hangs up or the node stops. Rejects with ApiError. */
  async watch(caller: Caller, call: WatchPeerCall): Promise<void> {
    const { headend, peerId } = call.request;
    rejectIfInvalid([...checkHeadendName('headend', headend), ...checkPeerId(peerId)]);
    authorize('watchPeer', caller, headend);
    const shards = this.#context.cluster.shards.of(headend).flatMap(({ events }) => events ?? []);
    if (!shards.some((events) => events.handlesOf(peerId).length > 0))
      throw await notHere(this.#context, headend, peerId);
    if (this.#open >= MOST_WATCHES)
      throw new ApiError(status.RESOURCE_EXHAUSTED, `${MOST_WATCHES} peers are looked at on this node already`);
    this.#open++;
    const waiting = new WaitingEvents();
    const stops = shards.map((events) => events.watch(peerId, (event) => waiting.add(event)));
    const ended = () => waiting.end();
    call.on('cancelled', ended);
    this.#context.stopping.addEventListener('abort', ended);
    try {
      call.write(create(WatchPeerResponseSchema));
      for (let response = await waiting.next(); response; response = await waiting.next())
        if (!call.write(response)) await once(call, 'drain', { signal: AbortSignal.timeout(DRAIN_MS) });
    } catch (error) {
      if (!call.cancelled) throw new ApiError(status.UNAVAILABLE, `watch broken off: ${(error as Error).name}`);
    } finally {
      this.#open--;
      this.#context.stopping.removeEventListener('abort', ended);
      for (const stop of stops) stop();
    }
  }
}

/** Events on their way to one caller. */
class WaitingEvents {
  #events: PeerEvent[] = [];
  #lost = 0;
  #ended = false;
  #wake: () => void = () => {};

  add(event: PeerEvent): void {
    if (this.#events.length < MOST_WAITING) this.#events.push(event);
    else this.#lost++;
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** All that came, as soon as there is something; undefined at the end. */
  async next(): Promise<WatchPeerResponse | undefined> {
    while (this.#events.length === 0 && !this.#ended) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    if (this.#ended) return undefined;
    const response = create(WatchPeerResponseSchema, { events: this.#events, lost: this.#lost });
    this.#events = [];
    this.#lost = 0;
    return response;
  }
}
