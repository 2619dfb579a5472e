/**
 * A probe socket with Node's own dgram. It reports the handle of each message that could not leave, through one callback for
 * all: nothing is allocated for a message except by Node itself.
 */

import type { RemoteInfo, Socket } from 'node:dgram';
import { Address } from '../base/address.ts';
import { always } from '../base/always.ts';
import type { AnsweringSocket, OnDatagram, OnFailed } from './probe-socket.ts';
import { SENDS_IN_FLIGHT } from './send-buffers.ts';
import { bindUdp } from './udp.ts';

/** Sends whose outcome is awaited at most; a power of two. */
const AWAITED = 65_536;
/** How often the socket is asked whether the kernel still takes what is sent, in sends. */
const LOOK_EVERY = SENDS_IN_FLIGHT / 4;
always((AWAITED & (AWAITED - 1)) === 0 && SENDS_IN_FLIGHT <= AWAITED, 'outcomes in a ring hold all that is under way');

export class NodeProbeSocket implements AnsweringSocket {
  readonly #socket: Socket;
  readonly #onFailed: OnFailed;
  /** Handles of the messages sent, oldest first: outcomes come in the order of sends. */
  readonly #handles = new Int32Array(AWAITED);
  #sent = 0;
  #done = 0;
  /** Messages wait in this process, because the kernel takes no more. */
  #clogged = false;
  readonly #onSent = (error: Error | null): void => {
    const handle = this.#handles[this.#done++ & (AWAITED - 1)]!;
    if (error) this.#onFailed(handle);
  };

  /** Sender of the datagram that is being handed on. */
  #from: RemoteInfo | undefined;

  private constructor(socket: Socket, onDatagram: OnDatagram, onFailed: OnFailed) {
    this.#socket = socket;
    this.#onFailed = onFailed;
    socket.on('message', (datagram, from) => {
      this.#from = from;
      onDatagram(datagram, { address: Address.of(from.address), port: from.port });
    });
    // An ICMP error is no evidence and no failure of the socket.
    socket.on('error', () => {});
  }

  /** Binds the socket; port 0: any. Rejects with the system's error. */
  static async bind(
    address: string,
    port: number,
    onDatagram: OnDatagram,
    onFailed: OnFailed,
  ): Promise<NodeProbeSocket> {
    return new NodeProbeSocket(await bindUdp(address, port), onDatagram, onFailed);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(message: Buffer, address: Address, port: number, handle: number): boolean {
    return this.#send(message, address.toString(), port, handle);
  }

  answer(message: Buffer): boolean {
    return this.#send(message, this.#from!.address, this.#from!.port, -1);
  }

  /** Datagrams are handed on as they arrive. */
  receive(): void {}

  close(): void {
    this.#socket.close();
  }

  #send(message: Buffer, address: string, port: number, handle: number): boolean {
    if (this.#clogged || this.#sent % LOOK_EVERY === 0) {
      this.#clogged = this.#socket.getSendQueueCount() > 0;
      if (this.#clogged) return false;
    }
    if (this.#sent - this.#done >= AWAITED) return false;
    this.#handles[this.#sent++ & (AWAITED - 1)] = handle;
    this.#socket.send(message, port, address, this.#onSent);
    return true;
  }
}
