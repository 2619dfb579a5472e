/** The ha plugin's feed: charon believes that we are its standby. UDP on loopback, for it carries secrets in the clear. */

import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { bindUdp } from '../../../../../workers/net/udp.ts';
import type { Logger } from '../../../../base/log.ts';
import { SettingsError } from '../../../../base/settings.ts';
import {
  decodeHa,
  encodeMidInitiator,
  encodeResync,
  HaFormatError,
  type HaMessage,
  type HaSaId,
  HaType,
} from './ha-message.ts';

/** The plugin's fixed port on both sides. */
const HA_PORT = 4510;
/** charon sends its status each second; without one for so long the feed is down, ms. */
const SILENT_MS = 3_500;

export class HaFeed {
  readonly #socket: Socket;
  readonly #charon: string;
  #version: number | undefined;
  #heardAt = Number.NEGATIVE_INFINITY;
  #messageAt = performance.now();

  private constructor(socket: Socket, charon: string, log: Logger, onMessage: (message: HaMessage) => void) {
    this.#socket = socket;
    this.#charon = charon;
    socket.on('error', () => {});
    socket.on('message', (datagram, from) => {
      if (from.address !== charon) return;
      try {
        const message = decodeHa(datagram);
        this.#version = message.version;
        this.#heardAt = performance.now();
        if (message.type === HaType.STATUS) return;
        this.#messageAt = this.#heardAt;
        onMessage(message);
      } catch (error) {
        if (!(error instanceof HaFormatError)) throw error;
        log.error({ reason: error.message }, 'ha message not understood');
      }
    });
  }

  /**
   * Listens where charon's ha plugin sends (its `remote`), and answers to where it listens (its `local`).
   * @throws SettingsError if the address is not on loopback or taken
   */
  static async open(
    own: string,
    charon: string,
    log: Logger,
    onMessage: (message: HaMessage) => void,
  ): Promise<HaFeed> {
    if (!own.startsWith('127.') || !charon.startsWith('127.'))
      throw new SettingsError(
        `ha-address ${own}, charon-ha-address ${charon}: the feed carries secrets, loopback only`,
      );
    try {
      return new HaFeed(await bindUdp(own, HA_PORT), charon, log, onMessage);
    } catch (error) {
      throw new SettingsError(`ha-address ${own}:${HA_PORT}: ${(error as NodeJS.ErrnoException).code}`);
    }
  }

  /** Whether charon has been heard lately. */
  get alive(): boolean {
    return performance.now() - this.#heardAt < SILENT_MS;
  }

  /** ms since the last message about an SA. */
  get quietMs(): number {
    return performance.now() - this.#messageAt;
  }

  /** Sets charon's own request counter of an SA. Throws if charon has never been heard. */
  setNextId(id: HaSaId, mid: number): void {
    this.#send(encodeMidInitiator(this.#spoken, id, mid));
  }

  /** Asks for every SA again. charon also rekeys every child SA: never while SAs are parked (see dataplane.ts). */
  resync(): void {
    this.#send(encodeResync(this.#spoken));
  }

  /** The version that charon speaks. */
  get #spoken(): number {
    if (this.#version === undefined) throw new Error('charon has not been heard yet');
    return this.#version;
  }

  async close(): Promise<void> {
    this.#socket.close();
    await once(this.#socket, 'close');
  }

  #send(message: Buffer): void {
    this.#socket.send(message, HA_PORT, this.#charon, () => {});
  }
}
