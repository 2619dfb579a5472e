/**
 * A probe socket that sends and receives many datagrams with one system call. It is polled for arrived datagrams, and never wakes
 * the thread.
 */

import type { Address, Family } from '../base/address.ts';
import { MAX_MESSAGE_LENGTH } from '../base/limits.ts';
import { BUSY, Datagrams } from './datagrams.ts';
import type { AnsweringSocket, OnDatagram, OnFailed, Sender } from './probe-socket.ts';
import type { OpenSocket } from './sockets.ts';

/** Datagrams for one system call. */
const BATCH = 64;
/** Batches received in one call, before the caller goes on with other work. */
const BATCHES_AT_A_TIME = 32;

/** A socket that never blocks, and the function that closes it if it is ours to close. */
type OwnedSocket = Pick<OpenSocket, 'fd' | 'port'> & {
  readonly family?: Family;
  readonly close?: (() => void) | undefined;
};

/** Receive buffers of this thread's sockets, by family: one byte longer than a message may be, to see that a datagram is too long. */
const arrivals: Record<Family, Datagrams | undefined> = { 4: undefined, 6: undefined };
/** The datagrams received last by any of these sockets, and which of them is being handed on. */
let received: Datagrams | undefined;
let current = 0;
/** Its sender, read only on request. */
const sender: Sender = {
  get address() {
    return received!.sender(current);
  },
  get port() {
    return received!.senderPort(current);
  },
};

export class BatchProbeSocket implements AnsweringSocket {
  readonly port: number;
  readonly #close: (() => void) | undefined;
  /** -1: closed. The system may give its number to others. */
  #fd: number;
  readonly #onDatagram: OnDatagram;
  readonly #onFailed: OnFailed;
  /** Messages not sent yet: from `#first` on, before `#end`. */
  readonly #queue: Datagrams;
  readonly #received: Datagrams;
  readonly #handles: Int32Array;
  #first = 0;
  #end = 0;
  #failed: number[] = [];
  readonly #flushAndReport = (): void => {
    this.#flush();
    const failed = this.#failed;
    if (failed.length === 0) return;
    this.#failed = [];
    for (const handle of failed) this.#onFailed(handle);
  };

  /** @param queue with room for as many messages as one system call sends */
  constructor(
    { fd, port, family = 4, close }: OwnedSocket,
    onDatagram: OnDatagram,
    onFailed: OnFailed,
    queue = new Datagrams(BATCH, MAX_MESSAGE_LENGTH, family),
  ) {
    this.port = port;
    this.#fd = fd;
    this.#close = close;
    this.#queue = queue;
    this.#handles = new Int32Array(queue.count);
    this.#onDatagram = onDatagram;
    this.#onFailed = onFailed;
    arrivals[family] ??= new Datagrams(BATCH, MAX_MESSAGE_LENGTH + 1, family);
    this.#received = arrivals[family];
  }

  send(message: Buffer, address: Address, port: number, handle: number): boolean {
    if (!this.#queued(message, handle)) return false;
    this.#queue.address(this.#end++, message.length, address, port);
    return true;
  }

  answer(message: Buffer): boolean {
    if (!this.#queued(message, -1)) return false;
    this.#queue.addressAs(this.#end++, message.length, received!, current);
    return true;
  }

  receive(): void {
    received = this.#received;
    if (this.#end > 0) this.#flushAndReport();
    for (let batch = 0; batch < BATCHES_AT_A_TIME; batch++) {
      const count = received.receive(this.#fd);
      for (current = 0; current < count; current++) this.#onDatagram(received.received(current), sender);
      if (count < BATCH) return;
    }
  }

  close(): void {
    this.#flush();
    this.#fd = -1;
    this.#close?.();
  }

  /** Puts a message at the end of the queue, which is sent when this turn of the event loop ends. False if it is full. */
  #queued(message: Buffer, handle: number): boolean {
    const { room, count, bytes } = this.#queue;
    if (message.length > room) throw new RangeError(`message of ${message.length} bytes: ${room} at most`);
    if (this.#end === count) this.#flush();
    if (this.#end === count) return false;
    if (this.#end === 0) queueMicrotask(this.#flushAndReport);
    bytes.set(message, this.#end * room);
    this.#handles[this.#end] = handle;
    return true;
  }

  /**
   * Sends what is queued, as far as the kernel takes it. Failures are reported later, because the caller concerned may be
   * sending just now.
   */
  #flush(): void {
    while (this.#first < this.#end) {
      const sent = this.#queue.send(this.#fd, this.#first, this.#end);
      if (sent === BUSY) return;
      if (sent > 0) this.#first += sent;
      else this.#failed.push(this.#handles[this.#first++]!);
    }
    this.#first = 0;
    this.#end = 0;
  }
}
