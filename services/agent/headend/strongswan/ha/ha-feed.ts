/**
 * The ha plugin's feed: charon believes that we are its standby. UDP on loopback only, because it carries secrets in the clear.
 * charon does not answer our messages: the kernel's figures of its socket's queue and drops show whether charon has read them.
 */

import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { HaFormatError, SettingsError } from '../../../../../workers/base/errors.ts';
import { ReceiveDrops, readQueue } from '../../../../../workers/net/receive-drops.ts';
import { bindUdp } from '../../../../../workers/net/udp.ts';
import type { Logger } from '../../../../base/log.ts';
import { Refusals } from '../../../../base/refusals.ts';
import {
  decodeHa,
  encodeBarrier,
  encodeMidInitiator,
  encodeResync,
  type HaMessage,
  type HaSaId,
  HaType,
} from './ha-message.ts';

/** The plugin's fixed port on both sides. */
const HA_PORT = 4510;
/** charon sends its status each second; without one for so long the feed is down, ms. */
const SILENT_MS = 3_500;
/** RESYNC brings 2.5 KB an SA at once: room for 25,000. */
const BUFFER_BYTES = 64 * 1024 * 1024;
/**
 * How often charon's queue is checked, and for how long at most, ms: charon handles one message after the other, and waits for busy
 * SAs.
 */
const LOOK_MS = 5;
const READ_MS = 60_000;

export type FeedEvents = {
  message(message: HaMessage): void;
  /** charon requests all SAs from us: it has just started. */
  restarted(): void;
};

export class HaFeed {
  readonly #socket: Socket;
  readonly #charon: string;
  readonly #drops: ReceiveDrops;
  readonly #log: Logger;
  readonly #refusals: Refusals;
  #version: number | undefined;
  #heardAt = Number.NEGATIVE_INFINITY;
  #misunderstood: string | undefined;
  /** Messages to charon, one after the other. */
  #telling: Promise<unknown> = Promise.resolve();

  private constructor(socket: Socket, own: string, charon: string, log: Logger, events: FeedEvents) {
    this.#socket = socket;
    this.#charon = charon;
    this.#drops = new ReceiveDrops(own, HA_PORT);
    this.#log = log;
    this.#refusals = new Refusals(log);
    socket.on('error', () => {});
    socket.on('message', (datagram, { address, port }) => {
      if (address === charon && port === HA_PORT) this.#receive(datagram, events);
      else this.#refusals.note('ha', `from ${address}:${port}, which is not charon's ha plugin`);
    });
  }

  /**
   * Listens at the address that charon's ha plugin sends to (its `remote`), and answers to the one where it listens
   * (its `local`).
   * @throws SettingsError if the address is not on loopback or taken
   */
  static async open(own: string, charon: string, log: Logger, events: FeedEvents): Promise<HaFeed> {
    if (!own.startsWith('127.') || !charon.startsWith('127.'))
      throw new SettingsError(
        `ha-address ${own}, charon-ha-address ${charon}: the feed carries secrets, loopback only`,
      );
    try {
      return new HaFeed(await bindUdp(own, HA_PORT, BUFFER_BYTES), own, charon, log, events);
    } catch (error) {
      throw new SettingsError(`ha-address ${own}:${HA_PORT}: ${(error as NodeJS.ErrnoException).code}`);
    }
  }

  /** Whether charon has sent something lately. */
  get alive(): boolean {
    return performance.now() - this.#heardAt < SILENT_MS;
  }

  /** Why none of charon's messages can be read; undefined if one could, or none came. */
  get misunderstood(): string | undefined {
    return this.#version === undefined ? this.#misunderstood : undefined;
  }

  /** Messages of charon that were lost here since the last call, as far as the kernel reports them. */
  lost(): Promise<number> {
    return this.#drops.readNew(performance.now());
  }

  /**
   * Sets charon's own request counters of SAs. charon resets the SA's exchanges: it must have none under way, and must get this
   * only once. Resolves with true when charon has done so; false if it may have missed some.
   */
  setNextIds(ids: readonly { readonly id: HaSaId; readonly mid: number }[]): Promise<boolean> {
    return this.#tell(ids.map(({ id, mid }) => encodeMidInitiator(this.#spoken, id, mid)));
  }

  /** Asks for every SA again; charon rekeys every child SA, too. Resolves as {@link setNextIds}, when all has been sent. */
  resync(): Promise<boolean> {
    return this.#tell([encodeResync(this.#spoken)]);
  }

  async close(): Promise<void> {
    this.#socket.close();
    await once(this.#socket, 'close');
  }

  /** Sends messages, and waits until charon has handled the last. */
  #tell(messages: readonly Buffer[]): Promise<boolean> {
    const told = this.#telling.then(async () => {
      const before = await readQueue(this.#charon, HA_PORT);
      for (const message of [...messages, encodeBarrier(this.#spoken)])
        this.#socket.send(message, HA_PORT, this.#charon, () => {});
      for (const deadline = performance.now() + READ_MS; performance.now() < deadline; ) {
        await sleep(LOOK_MS);
        const queue = await readQueue(this.#charon, HA_PORT);
        if (queue?.waiting === 0) return queue.drops === before?.drops;
        if (!queue) break;
      }
      this.#log.error({ charon: `${this.#charon}:${HA_PORT}` }, "charon's ha socket is not here, or not read");
      return false;
    });
    this.#telling = told.catch(() => {});
    return told;
  }

  #receive(datagram: Buffer, events: FeedEvents): void {
    const message = read(datagram);
    if (typeof message === 'string') {
      this.#misunderstood = message;
      // At the start it is logged once, by the code that waits for the feed.
      if (this.#version !== undefined) this.#refusals.note('ha', message);
      return;
    }
    this.#version = message.version;
    this.#heardAt = performance.now();
    if (message.type === HaType.STATUS) return;
    if (message.type === HaType.RESYNC) events.restarted();
    else this.#hand(message, events);
  }

  /** A datagram that cannot be used counts as lost, as any datagram may be; it does not end the agent. */
  #hand(message: HaMessage, events: FeedEvents): void {
    try {
      events.message(message);
    } catch (error) {
      this.#refusals.note('ha', `type ${message.type}: ${(error as Error).message}`);
    }
  }

  /** The version that charon speaks. */
  get #spoken(): number {
    if (this.#version === undefined) throw new Error('charon has not been heard yet');
    return this.#version;
  }
}

/** The message of a datagram, or what is wrong with it. */
function read(datagram: Buffer): HaMessage | string {
  try {
    return decodeHa(datagram);
  } catch (error) {
    if (error instanceof HaFormatError) return error.message;
    throw error;
  }
}
