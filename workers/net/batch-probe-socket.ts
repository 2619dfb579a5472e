/** A probe socket that sends and receives many datagrams with one system call. It is asked for what has arrived, and never woken. */

import { MAX_MESSAGE_LENGTH } from '../ikev2/header.ts';
import { BUSY, Datagrams } from './datagrams.ts';
import type { OnDatagram, OnFailed, ProbeSocket } from './open-probe-socket.ts';
import type { OpenSocket } from './sockets.ts';

/** Datagrams for one system call. */
const BATCH = 64;
/** Longest message sent, bytes. */
const ROOM = 256;
/** Batches received before whoever asks gets on with other things. */
const BATCHES_AT_A_TIME = 32;

/** A socket that never blocks, with its end if it is this one's to close. */
type OwnedSocket = Pick<OpenSocket, 'fd' | 'port'> & { readonly close?: (() => void) | undefined };

/** What was received last, by any socket of this thread: one byte more than a message may have tells that it is too long. */
let received: Datagrams | undefined;
/** Which of them is being handed on. */
let current = 0;
const views: Buffer[] = [];

export class BatchProbeSocket implements ProbeSocket {
  readonly port: number;
  readonly #close: (() => void) | undefined;
  /** -1: closed. The system may give its number to others. */
  #fd: number;
  readonly #onDatagram: OnDatagram;
  readonly #onFailed: OnFailed;
  /** Messages not sent yet: from `#first` on, before `#end`. */
  readonly #queue: Datagrams;
  readonly #handles: Int32Array;
  #first = 0;
  #end = 0;
  #failed: number[] = [];
  readonly #settle = (): void => {
    this.#flush();
    const failed = this.#failed;
    if (failed.length === 0) return;
    this.#failed = [];
    for (const handle of failed) this.#onFailed(handle);
  };

  /** @param queue with room for as many messages as one system call sends */
  constructor(
    { fd, port, close }: OwnedSocket,
    onDatagram: OnDatagram,
    onFailed: OnFailed,
    queue = new Datagrams(BATCH, ROOM),
  ) {
    this.port = port;
    this.#fd = fd;
    this.#close = close;
    this.#queue = queue;
    this.#handles = new Int32Array(queue.count);
    this.#onDatagram = onDatagram;
    this.#onFailed = onFailed;
    received ??= new Datagrams(BATCH, MAX_MESSAGE_LENGTH + 1);
  }

  send(message: Buffer, address: number, port: number, handle: number): boolean {
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
    const { room, bytes } = received!;
    if (this.#end > 0) this.#settle();
    for (let batch = 0; batch < BATCHES_AT_A_TIME; batch++) {
      const count = received!.receive(this.#fd);
      for (current = 0; current < count; current++) {
        const length = received!.received(current);
        let view = views[current];
        if (view?.length !== length) {
          view = bytes.subarray(current * room, current * room + length);
          views[current] = view;
        }
        this.#onDatagram(view);
      }
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
    if (this.#end === 0) queueMicrotask(this.#settle);
    bytes.set(message, this.#end * room);
    this.#handles[this.#end] = handle;
    return true;
  }

  /** Sends what is queued, as far as the kernel takes it. Tells nobody of failures yet: the one concerned may be sending. */
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
