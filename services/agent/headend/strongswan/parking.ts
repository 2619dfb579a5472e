/**
 * Setting charon's own request counters: far ahead when an SA is taken into care, and true again when it is given back. charon resets
 * the SA's exchanges with that. So it is done when the SA has none under way, once, and known to have arrived.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { PARKED_ID } from '../../../../workers/ikev2/header.ts';
import type { HaSaId } from './ha/ha-message.ts';
import { type ListSas, lookAt } from './looks.ts';
import type { ListedSa } from './vici/sas.ts';

/** SAs between the looks at them and the datagrams that concern them, at most. */
const BATCH = 100;
/** An SA that could not be parked is looked at again after this, ms. */
const AGAIN_MS = 1_000;
/** How often there is a look for what has come, ms. */
const TURN_MS = 50;
/**
 * charon forgets its last answer: the spoke, which repeats its request if it missed that, must have had it. strongSwan repeats after 4 s
 * and 7 s more.
 */
const ANSWERED_MS = 12_000;
/** Each parking of an SA begins elsewhere, so that no answer to what went before fits. */
const BASES = 0x4000;
const BASE_STEP = 0x10000;
/** A packet counter's age is told in whole seconds, ms. */
const USE_STEP_MS = 1_000;

/** An SA, as far as parking needs to know it. */
export type Parkable = {
  readonly id: HaSaId;
  readonly spi: string;
  readonly uniqueId: string | undefined;
  readonly respondedAt: number;
  /** It is parked already, as it turns out. */
  readonly parked: boolean;
  /** By inbound SPI: without any, nothing is heard from the spoke. */
  readonly children: { readonly size: number };
};

export type ParkingContext = {
  /** See HaFeed.setNextIds. */
  setNextIds(ids: readonly { readonly id: HaSaId; readonly mid: number }[]): Promise<boolean>;
  readonly list: ListSas;
  /** It is worth waiting for this SA. */
  stands(spi: string): boolean;
  now(): number;
};

type Waiting = {
  readonly sa: Parkable;
  /** Where to; undefined: parked. */
  readonly mid: number | undefined;
  /** When it is looked at next, ms. */
  at: number;
  readonly settle: (done: boolean) => void;
};

export class Parking {
  readonly #context: ParkingContext;
  readonly #waiting = new Map<string, Waiting>();
  #base = Math.floor(Math.random() * BASES);
  #working = false;
  #stopped = false;

  constructor(context: ParkingContext) {
    this.#context = context;
  }

  /** Parks an SA as soon as that may be. Resolves with false if it is gone before. */
  park(sa: Parkable): Promise<boolean> {
    return this.#set(sa, undefined);
  }

  /** Sets charon's counter to the id that it may go on with. Resolves as {@link park}. */
  unpark(sa: Parkable, mid: number): Promise<boolean> {
    return this.#set(sa, mid);
  }

  /** SAs that wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Whoever waits is let go. */
  stop(): void {
    this.#stopped = true;
    for (const { settle } of this.#waiting.values()) settle(false);
    this.#waiting.clear();
  }

  #set(sa: Parkable, mid: number | undefined): Promise<boolean> {
    this.#waiting.get(sa.spi)?.settle(false);
    return new Promise((settle) => {
      if (this.#stopped) {
        settle(false);
        return;
      }
      this.#waiting.set(sa.spi, { sa, mid, at: mid === undefined ? soonest(sa) : 0, settle });
      if (!this.#working) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#working = true;
    while (this.#waiting.size > 0 && !this.#stopped) {
      const batch = await this.#idle();
      if (batch.length > 0) await this.#send(batch);
      else await sleep(TURN_MS);
    }
    this.#working = false;
  }

  /** Those whose turn it is and that have no exchange under way. */
  async #idle(): Promise<Waiting[]> {
    const { now, stands, list } = this.#context;
    const due: Waiting[] = [];
    for (const waiting of this.#waiting.values()) {
      const { sa, mid } = waiting;
      if (!stands(sa.spi) || (sa.parked && mid === undefined)) this.#done(waiting, false);
      else if (waiting.at <= now() && due.length < BATCH) due.push(waiting);
    }
    // Busy with one charon says nothing of it; if it cannot be asked at all, there is another time.
    const listed = await lookAt(
      list,
      due.map(({ sa }) => sa),
    ).catch(() => new Map<string, ListedSa>());
    return due.filter((waiting) => {
      const { sa, mid } = waiting;
      const found = listed.get(sa.spi);
      if (found && isIdle(found) && (mid !== undefined || answerArrived(sa, found, now()))) return true;
      waiting.at = now() + AGAIN_MS;
      return false;
    });
  }

  async #send(batch: readonly Waiting[]): Promise<void> {
    const arrived = await this.#context
      .setNextIds(batch.map(({ sa, mid }) => ({ id: sa.id, mid: mid ?? this.#nextBase() })))
      .catch(() => false);
    for (const waiting of batch)
      if (arrived) this.#done(waiting, true);
      else waiting.at = this.#context.now() + AGAIN_MS;
  }

  #done(waiting: Waiting, done: boolean): void {
    if (this.#waiting.get(waiting.sa.spi) === waiting) this.#waiting.delete(waiting.sa.spi);
    waiting.settle(done);
  }

  #nextBase(): number {
    this.#base = (this.#base + 1) % BASES;
    return PARKED_ID + this.#base * BASE_STEP;
  }
}

/** When an SA may be parked at the earliest, ms: one from whose spoke nothing can be heard has to wait. */
function soonest({ id, children, respondedAt }: Parkable): number {
  return id.initiator || children.size > 0 ? 0 : respondedAt + ANSWERED_MS;
}

function isIdle({ established, busy }: ListedSa): boolean {
  return established && !busy;
}

/** Whether the spoke has certainly had the hub's last answer: as initiator the hub has had the last word itself. */
function answerArrived({ id, respondedAt }: Parkable, { children }: ListedSa, now: number): boolean {
  if (id.initiator || now - respondedAt >= ANSWERED_MS) return true;
  return children.some(({ useIn }) => useIn !== undefined && now - useIn * USE_STEP_MS - USE_STEP_MS > respondedAt);
}
