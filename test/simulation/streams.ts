/** gRPC streams between agents and nodes: ordered, delayed, broken by crashes at once and by partitions after a while. */

import { EventEmitter } from 'node:events';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { ConnectShardRequestSchema, ConnectShardResponseSchema } from '../../proto/gen/dpd/v1/headend_pb.js';
import type { UplinkStream } from '../../services/agent/uplink.ts';
import { toServiceError } from '../../services/api/grpc/errors.ts';
import { EVERYTHING } from '../../services/node/access/grants.ts';
import { connectShard } from '../../services/node/api/headend/connect-shard.ts';
import type { ClusterNode } from '../../services/node/cluster/cluster-node.ts';
import type { Random } from './random.ts';
import type { Process, VirtualTime } from './virtual-time.ts';

/** gRPC's keepalive finds a silent other side after this, ms. */
export const KEEPALIVE_MS = 5_000;

/** One call, seen from both ends. */
export class SimStream {
  readonly client = new EventEmitter();
  readonly agent: Process;
  readonly node: Process;
  open = true;
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #reaches: () => boolean;
  readonly #requests: Buffer[] = [];
  #waiting: ((result: IteratorResult<Buffer>) => void) | undefined;
  #ended = false;
  #lastUp = 0;
  #lastDown = 0;
  /** When the other side was first out of reach, ms. */
  #silentSince: number | undefined;

  constructor(time: VirtualTime, random: Random, agent: Process, node: Process, reaches: () => boolean) {
    this.#time = time;
    this.#random = random;
    this.agent = agent;
    this.node = node;
    this.#reaches = reaches;
  }

  /** The agent's end. */
  uplink(): UplinkStream {
    const stream = {
      on: (event: string, listener: (...args: never[]) => void) => this.client.on(event, listener as never),
      write: (message: MessageInitShape<typeof ConnectShardRequestSchema>) => {
        const request = Buffer.from(toBinary(ConnectShardRequestSchema, create(ConnectShardRequestSchema, message)));
        this.#up(() => this.#arrive(request));
        return true;
      },
      end: () => this.#up(() => this.#endRequests()),
      cancel: () => this.break('cancelled', false),
    };
    return stream as unknown as UplinkStream;
  }

  /** Hands the node's end to the API. */
  serve(cluster: ClusterNode): void {
    const server = new EventEmitter();
    const call = {
      cancelled: false,
      writableLength: 0,
      on: (event: string, listener: () => void) => server.on(event, listener),
      destroy: () => {},
      write: (message: unknown) => {
        const response = Buffer.isBuffer(message) ? fromBinary(ConnectShardResponseSchema, message) : message;
        this.#down(() => this.client.emit('data', response));
        return true;
      },
      end: () => this.#down(() => this.#close(() => this.client.emit('end'))),
      emit: (event: string, error: { details?: string }) => {
        if (event === 'error') this.#down(() => this.#close(() => this.client.emit('error', new Error(error.details))));
      },
      iterator: () => ({ next: () => this.#next() }),
    };
    this.client.once('cancelled', () => {
      call.cancelled = true;
      server.emit('cancelled');
      this.#endRequests();
    });
    connectShard(
      { cluster },
      { address: 'simulated', name: 'simulated', grants: EVERYTHING, local: true },
      call as never,
    ).then(
      () => call.end(),
      (error) => call.emit('error', toServiceError(error)),
    );
  }

  /** Breaks the call: both ends learn of it. */
  break(reason: string, tellClient = true): void {
    if (!this.open) return;
    this.open = false;
    const { now } = this.#time;
    this.#time.at(now + this.#latency(), this.node, () => {
      this.#time.settled();
      this.client.emit('cancelled');
    });
    if (tellClient)
      this.#time.at(now + this.#latency(), this.agent, () => {
        this.#time.settled();
        this.client.emit('error', new Error(reason));
      });
  }

  /** Keepalive: call now and then. */
  check(): void {
    const { now } = this.#time;
    const reached = this.#reaches();
    // The process that runs there now does not know the call, and resets it.
    if (reached && !(this.node.alive && this.agent.alive)) this.break('connection reset');
    const silent = !reached || this.node.pausedUntil > now || this.agent.pausedUntil > now;
    if (!silent) this.#silentSince = undefined;
    else {
      this.#silentSince ??= now;
      if (now - this.#silentSince >= KEEPALIVE_MS) this.break('keepalive');
    }
  }

  #up(deliver: () => void): void {
    this.#lastUp = Math.max(this.#lastUp, this.#time.now + this.#latency());
    this.#travel(this.#lastUp, this.node, deliver);
  }

  #down(deliver: () => void): void {
    this.#lastDown = Math.max(this.#lastDown, this.#time.now + this.#latency());
    this.#travel(this.#lastDown, this.agent, deliver);
  }

  /** What travels into a partition arrives when it is over, unless the call has been broken by then. */
  #travel(at: number, to: Process, deliver: () => void): void {
    this.#time.at(at, to, () => {
      if (!this.open) return;
      if (!this.#reaches()) {
        this.#travel(this.#time.now + 100, to, deliver);
        return;
      }
      this.#time.settled();
      deliver();
    });
  }

  #close(tell: () => void): void {
    if (!this.open) return;
    this.open = false;
    tell();
  }

  #arrive(request: Buffer): void {
    if (this.#waiting) {
      this.#waiting({ done: false, value: request });
      this.#waiting = undefined;
    } else this.#requests.push(request);
  }

  #endRequests(): void {
    this.#ended = true;
    this.#waiting?.({ done: true, value: undefined });
    this.#waiting = undefined;
  }

  #next(): Promise<IteratorResult<Buffer>> {
    const request = this.#requests.shift();
    if (request) return Promise.resolve({ done: false, value: request });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  #latency(): number {
    return this.#random.between(0.5, 5);
  }
}
