/** A charon that speaks vici on a unix socket: it answers as it is told, and remembers what it was asked. */

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  decodeMessage,
  encodePacket,
  Packet,
  PacketReader,
  type ViciSection,
} from '../../../../../services/agent/headend/strongswan/vici/codec.ts';

/** What charon says to a command: events first, then its answer. */
export type ViciAnswer = { readonly events?: readonly ViciSection[]; readonly response?: ViciSection };
export type Asked = readonly [command: string, message: ViciSection];

export class ViciFake {
  readonly path: string;
  readonly asked: Asked[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), 'dpd-vici-'));
  readonly #server = createServer((socket) => this.#serve(socket));
  readonly #answer: (command: string, message: ViciSection) => ViciAnswer;

  constructor(answer: (command: string, message: ViciSection) => ViciAnswer) {
    this.path = join(this.#directory, 'charon.vici');
    this.#answer = answer;
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(this.path, resolve));
    return this;
  }

  /** Commands that change something, in order. */
  get changes(): readonly Asked[] {
    return this.asked.filter(([command]) => !command.startsWith('list-'));
  }

  close(): void {
    this.#server.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #serve(socket: Socket): void {
    let event = '';
    const reader = new PacketReader((type, body) => {
      const length = body[0]!;
      const name = body.toString('utf8', 1, 1 + length);
      if (type === Packet.EVENT_REGISTER || type === Packet.EVENT_UNREGISTER) {
        event = name;
        socket.write(encodePacket(Packet.EVENT_CONFIRM, undefined));
        return;
      }
      const message = decodeMessage(body.subarray(1 + length));
      this.asked.push([name, message]);
      const { events = [], response = { success: 'yes' } } = this.#answer(name, message);
      for (const each of events) socket.write(encodePacket(Packet.EVENT, event, each));
      socket.write(encodePacket(Packet.CMD_RESPONSE, undefined, response));
    });
    socket.on('data', (bytes: Buffer) => reader.take(bytes));
    socket.on('error', () => {});
  }
}
