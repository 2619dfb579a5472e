/**
 * Sets charon's own request counters: far ahead when an SA is taken into care, and to the true value when it is given back. That
 * resets the SA's exchanges. So it is done once, when the SA has none under way, and the agent makes sure that charon received it.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { PARKED_ID } from '../../../../workers/ikev2/header.ts';
import type { HaSaId } from './ha/ha-message.ts';
import { type ListSas, lookAt } from './looks.ts';
import type { ListedSa } from './vici/sas.ts';

/** Maximum number of SAs between a look and its datagrams. */
const BATCH = 100;
/** An SA that could not be parked is looked at again after this, ms. */
const AGAIN_MS = 1_000;
/** How often waiting SAs are checked, ms. */
const TURN_MS = 50;
/**
 * charon forgets its last answer, so the spoke must have received it: otherwise the spoke repeats its request. strongSwan repeats after
 * 4 s, and 7 s later.
 */
const ANSWERED_MS = 12_000;
/** Each parking of an SA begins at another id, so that no answer to an earlier request fits. */
const BASES = 0x4000;
const BASE_STEP = 0x10000;
/** A packet counter's age is in whole seconds, ms. */
const USE_STEP_MS = 1_000;

/** The data of an SA that parking needs. */
export type Parkable = {
  readonly id: HaSaId;
  readonly spi: string;
  readonly uniqueId: string | undefined;
  readonly respondedAt: number;
  /** It is parked already, as it turns out. */
  readonly parked: boolean;
  /** By inbound SPI: without any, no traffic of the spoke can be seen. */
  readonly children: { readonly size: number };
};

export type ParkingContext = {
  /** See HaFeed.setNextIds. */
  setNextIds(ids: readonly { readonly id: HaSaId; readonly mid: number }[]): Promise<boolean>;
  readonly list: ListSas;
  /** Whether to go on waiting for this SA. */
  stands(spi: string): boolean;
  now(): number;
};

type Waiting = {
  readonly sa: Parkable;
  /** The id to set; undefined: parked. */
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

  /** Parks an SA as soon as possible. Resolves with false if the SA is gone before. */
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

  /** Ends all waits. */
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
    // charon omits an SA that is busy; if charon cannot be asked at all, this is tried again later.
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

/** The earliest time at which an SA may be parked, ms: it has to wait if no traffic of its spoke can be seen. */
function soonest({ id, children, respondedAt }: Parkable): number {
  return id.initiator || children.size > 0 ? 0 : respondedAt + ANSWERED_MS;
}

function isIdle({ established, busy }: ListedSa): boolean {
  return established && !busy;
}

/** Whether the spoke has certainly received the hub's last answer. If the hub was the initiator, it got the last message itself. */
function answerArrived({ id, respondedAt }: Parkable, { children }: ListedSa, now: number): boolean {
  if (id.initiator || now - respondedAt >= ANSWERED_MS) return true;
  return children.some(({ useIn }) => useIn !== undefined && now - useIn * USE_STEP_MS - USE_STEP_MS > respondedAt);
}
