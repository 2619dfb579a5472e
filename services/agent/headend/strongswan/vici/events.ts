/** Events that charon sends unasked over vici, on a separate connection that is kept up. */

import { connect, type Socket } from 'node:net';
import { decodeEvent, encodePacket, Packet, PacketReader, type ViciSection } from './codec.ts';

const AGAIN_MS = 1_000;

export class ViciEvents {
  readonly #path: string;
  readonly #names: readonly string[];
  readonly #onEvent: (name: string, message: ViciSection) => void;
  #socket: Socket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param path charon's vici socket; @param names of the events; events without a connection are lost */
  constructor(path: string, names: readonly string[], onEvent: (name: string, message: ViciSection) => void) {
    this.#path = path;
    this.#names = names;
    this.#onEvent = onEvent;
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
  }

  #connect(): void {
    const socket = connect(this.#path);
    this.#socket = socket;
    const reader = new PacketReader((type, body) => {
      if (type !== Packet.EVENT) return;
      const { name, message } = decodeEvent(body);
      this.#onEvent(name, message);
    });
    socket.on('connect', () => {
      for (const name of this.#names) socket.write(encodePacket(Packet.EVENT_REGISTER, name));
    });
    socket.on('data', (bytes: Buffer) => {
      if (!reader.take(bytes)) socket.destroy();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (!this.#closed) this.#timer = setTimeout(() => this.#connect(), AGAIN_MS);
    });
  }
}
