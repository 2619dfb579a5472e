/**
 * How far the next message id of an SA is uncertain. Whoever takes an SA over knows it up to a few: from the id of the checkpoint
 * on, as many as exchanges fit into the time that nobody can tell of. Then a probe is one message for each possible id (see
 * ikev2/exchange.ts), until an answer says which it is. A peer that has never answered is asked in the same way, for a wrong id is
 * the usual reason of that.
 */

import type { SessionTable } from '../ikev2/sessions.ts';
import { leastSpacingMs, Mode, type Policy } from '../liveness/policy.ts';

/** Messages of one probe at most: with more possible ids it takes several, and the peer's silence proves nothing. */
const MOST_MESSAGES = 64;
/** How many a peer that answers none of them is asked with at most, unless there were more to begin with. */
const WIDEST = 16;
/** Ids above the one that is known, with which a peer is asked before it is judged. */
const NEIGHBOURS_ABOVE = 2;
/** Messages of one probe to a peer that has never answered. */
const SEARCHED = 8;
/** So far below the id that its headend named a search begins. */
const SEARCHED_BELOW = 2;
/** So far the id of a peer that has never answered is looked for. */
const FARTHEST = 1_024;

export class IdUncertainty {
  readonly #sessions: SessionTable;

  constructor(sessions: SessionTable) {
    this.#sessions = sessions;
  }

  /** Ids that may be the next one, from `nextMid` on: 1 if it is known. */
  possibleIds(handle: number): number {
    return this.#sessions.uncertainty[handle]! + 1;
  }

  /** The next id may be any of so many, and what was under way is so no more. */
  set(handle: number, possibleIds: number): void {
    this.#sessions.uncertainty[handle] = Math.min(possibleIds, FARTHEST) - 1;
    this.#sessions.end(handle);
  }

  /** No possible id was answered: there are twice as many now. Nothing changes where the next id is known. */
  widen(handle: number): void {
    const possible = this.possibleIds(handle);
    if (possible > 1 && possible < WIDEST) this.#sessions.uncertainty[handle] = Math.min(2 * possible, WIDEST) - 1;
  }

  /**
   * A peer is about to be judged whose next id is known: should it be another after all, as somebody asked of whom nobody knows, it is
   * asked with the neighbours too.
   */
  neighbours(handle: number): void {
    const { nextMid, uncertainty } = this.#sessions;
    if (this.possibleIds(handle) > 1) return;
    const below = Math.min(1, nextMid[handle]!);
    nextMid[handle]! -= below;
    uncertainty[handle] = below + NEIGHBOURS_ABOVE;
  }

  /**
   * The peer has never answered: its id is looked for around the one that its headend named. Once all possible ids were asked in vain
   * there are twice as many.
   */
  search(handle: number): void {
    const { nextMid, uncertainty, window } = this.#sessions;
    const possible = this.possibleIds(handle);
    if (window[handle]! + 2 < 2 * windowsOf(possible, SEARCHED)) return;
    // Mostly upwards, for ids only grow; but who named it may have known of too many.
    const below = possible === 1 ? SEARCHED_BELOW : possible >>> 2;
    nextMid[handle] = Math.max(0, nextMid[handle]! - below);
    uncertainty[handle] = Math.min(Math.max(possible * 2, SEARCHED), FARTHEST) - 1;
    window[handle] = 0;
  }

  /** Whether one probe asks with all possible ids, so that silence means something. */
  askable(handle: number): boolean {
    return this.possibleIds(handle) <= MOST_MESSAGES;
  }

  /**
   * Begins the next probe. Where there are too many possible ids for one, each asks with those behind the last one's; a search asks
   * with the likeliest, which are the first, every other time, for the peer may come back at any moment.
   */
  next(handle: number, proven: boolean): void {
    const { window } = this.#sessions;
    const windows = windowsOf(this.possibleIds(handle), mostMessages(proven));
    const turns = proven || windows === 1 ? windows : 2 * windows;
    window[handle] = (window[handle]! + 1) % turns;
  }

  /** The lowest id that the present probe asks with, from `nextMid` on. */
  offset(handle: number, proven: boolean): number {
    const turn = this.#sessions.window[handle]!;
    if (proven) return turn * MOST_MESSAGES;
    return turn % 2 === 0 ? (turn / 2) * SEARCHED : 0;
  }

  /** How many ids it asks with. @param proven the peer has answered before */
  count(handle: number, proven: boolean): number {
    return Math.min(mostMessages(proven), this.possibleIds(handle) - this.offset(handle, proven));
  }
}

/** Probes that it takes to ask with so many ids. */
function windowsOf(ids: number, messages: number): number {
  return Math.ceil(ids / messages);
}

function mostMessages(proven: boolean): number {
  return proven ? MOST_MESSAGES : SEARCHED;
}

/**
 * Ids that may be the next one of an SA after another may have asked its peer for `gapMs`: he moved the id on by one with each
 * question, and the request that was under way may have been answered.
 * @param possible ids that were possible before
 * @param heardAgeMs age of the last evidence, as it is now: what came in the gap does not say how long the peer was silent before
 */
export function possibleIdsAfter(
  possible: number,
  { outstanding, fresh }: { readonly outstanding: boolean; readonly fresh: boolean },
  policy: Policy,
  heardAgeMs: number,
  gapMs: number,
): number {
  const spacingMs = leastSpacingMs(policy);
  const before = possible + (outstanding ? 1 : 0);
  // Nobody had a reason to ask.
  const quiet = policy.mode !== Mode.PERIODIC && !fresh && heardAgeMs >= gapMs && heardAgeMs < spacingMs;
  if (quiet || spacingMs === 0) return before;
  return before + 1 + Math.floor(gapMs / spacingMs);
}
