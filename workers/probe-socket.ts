/**
 * A shard's probe socket. Says of each message that could not leave whose it was, with one callback for all: nothing is
 * made for a message but what Node makes itself.
 */

import type { Socket } from 'node:dgram';
import { SENDS_IN_FLIGHT } from './send-buffers.ts';
import { bindUdp, dotted } from './udp.ts';

/** Sends whose outcome is awaited at most; a power of two. */
const AWAITED = 65_536;
/** How often the socket is asked whether the kernel still takes what is sent, in sends. */
const LOOK_EVERY = SENDS_IN_FLIGHT / 4;

export class ProbeSocket {
  readonly #socket: Socket;
  readonly #onFailed: (handle: number) => void;
  /** Whose messages were sent, oldest first: outcomes come in the order of sends. */
  readonly #handles = new Int32Array(AWAITED);
  #sent = 0;
  #done = 0;
  /** Messages wait in this process, for the kernel takes no more. */
  #clogged = false;
  readonly #onSent = (error: Error | null): void => {
    const handle = this.#handles[this.#done++ & (AWAITED - 1)]!;
    if (error) this.#onFailed(handle);
  };

  private constructor(socket: Socket, onMessage: (datagram: Buffer) => void, onFailed: (handle: number) => void) {
    this.#socket = socket;
    this.#onFailed = onFailed;
    socket.on('message', onMessage);
    // An ICMP error is no evidence and no failure of the socket.
    socket.on('error', () => {});
  }

  /**
   * Binds the socket; port 0: any. Rejects with the system's error.
   * @param onFailed the handle given with a message that did not leave
   */
  static async bind(
    address: string,
    port: number,
    onMessage: (datagram: Buffer) => void,
    onFailed: (handle: number) => void,
  ): Promise<ProbeSocket> {
    return new ProbeSocket(await bindUdp(address, port), onMessage, onFailed);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  /** Sends a message, which must stay as it is for {@link SENDS_IN_FLIGHT} more. False if it cannot be taken now. */
  send(message: Buffer, address: number, port: number, handle: number): boolean {
    if (this.#clogged || this.#sent % LOOK_EVERY === 0) {
      this.#clogged = this.#socket.getSendQueueCount() > 0;
      if (this.#clogged) return false;
    }
    if (this.#sent - this.#done >= AWAITED) return false;
    this.#handles[this.#sent++ & (AWAITED - 1)] = handle;
    this.#socket.send(message, port, dotted(address), this.#onSent);
    return true;
  }

  close(): void {
    this.#socket.close();
  }
}
