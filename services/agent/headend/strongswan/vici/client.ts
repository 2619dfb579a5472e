/** A vici client: one request at a time on one unix socket, with a deadline on each. Reconnects when next used. */

import { connect, type Socket } from 'node:net';
import { ViciError } from '../../../../../workers/base/errors.ts';
import { decodeEvent, decodeMessage, encodePacket, Packet, PacketReader, type ViciSection } from './codec.ts';

const REQUEST_MS = 20_000;

type Pending = { onPacket: (type: number, body: Buffer) => void; fail: (error: Error) => void };

export class ViciClient {
  readonly #path: string;
  #socket: Socket | undefined;
  #pending: Pending | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  /** @param path charon's vici socket */
  constructor(path: string) {
    this.#path = path;
  }

  /** Runs a command. Throws ViciError if charon refuses or does not answer in time. */
  async request(command: string, message: ViciSection = {}, deadlineMs = REQUEST_MS): Promise<ViciSection> {
    const response = await this.#exclusive(() => this.#exchange(command, message, deadlineMs));
    if (response['success'] === 'no') throw new ViciError(`${command}: ${String(response['errmsg'] ?? 'refused')}`);
    return response;
  }

  /**
   * Runs a command that streams its results as events of one name.
   * @param read returns the needed part of a result; the rest is dropped when the next result comes
   * @returns what was read of all of them
   */
  async list<T>(
    command: string,
    event: string,
    read: (result: ViciSection) => readonly T[],
    message: ViciSection = {},
  ): Promise<T[]> {
    return this.#exclusive(async () => {
      const items: T[] = [];
      await this.#exchangePacket(encodePacket(Packet.EVENT_REGISTER, event), REQUEST_MS);
      try {
        await this.#exchange(command, message, REQUEST_MS, (result) => items.push(...read(result)));
      } finally {
        await this.#exchangePacket(encodePacket(Packet.EVENT_UNREGISTER, event), REQUEST_MS);
      }
      return items;
    });
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    // The results are not kept until the next request.
    this.#queue = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  async #exchange(
    command: string,
    message: ViciSection,
    deadlineMs: number,
    onEvent?: (message: ViciSection) => void,
  ): Promise<ViciSection> {
    const { type, body } = await this.#exchangePacket(
      encodePacket(Packet.CMD_REQUEST, command, message),
      deadlineMs,
      onEvent,
    );
    if (type === Packet.CMD_UNKNOWN) throw new ViciError(`${command}: unknown to charon`);
    return decodeMessage(body);
  }

  #exchangePacket(
    packet: Buffer,
    deadlineMs: number,
    onEvent: (message: ViciSection) => void = () => {},
  ): Promise<{ type: number; body: Buffer }> {
    const socket = this.#connected();
    return new Promise((resolve, reject) => {
      const end = (finish: () => void) => {
        clearTimeout(timer);
        this.#pending = undefined;
        finish();
      };
      const timer = setTimeout(() => {
        // A late answer must not be taken for the answer to the next request.
        this.close();
        end(() => reject(new ViciError(`charon did not answer within ${deadlineMs} ms`)));
      }, deadlineMs);
      this.#pending = {
        onPacket: (type, body) => {
          if (type === Packet.EVENT) onEvent(decodeEvent(body).message);
          else end(() => resolve({ type, body }));
        },
        fail: (error) => end(() => reject(error)),
      };
      socket.write(packet);
    });
  }

  #connected(): Socket {
    if (this.#socket) return this.#socket;
    const socket = connect(this.#path);
    this.#socket = socket;
    const reader = new PacketReader((type, body) => this.#pending?.onPacket(type, body));
    socket.on('data', (bytes: Buffer) => {
      if (!reader.take(bytes)) socket.destroy();
    });
    const lost = (reason: string) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#pending?.fail(new ViciError(`charon's vici socket ${this.#path}: ${reason}`));
    };
    socket.on('error', (error: NodeJS.ErrnoException) => lost(error.code ?? error.message));
    socket.on('close', () => lost('closed'));
    return socket;
  }
}
