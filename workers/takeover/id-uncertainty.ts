/**
 * How uncertain the next message id of an SA is. After a takeover the id is one of a few: from the id of the checkpoint on, as
 * many as exchanges fit into the time that no checkpoint covers. Then a probe is one message for each possible id (see
 * ikev2/exchange.ts), until an answer says which it is. A peer that has never answered is probed in the same way, because a wrong
 * id is the usual reason.
 */

import type { SessionTable } from '../ikev2/sessions.ts';
import { leastSpacingMs, Mode, type Plan } from '../liveness/policy.ts';

/** Maximum number of messages of one probe. More possible ids take several probes, and silence after one of them proves nothing. */
const MOST_MESSAGES = 64;
/** Maximum number of ids tried with a peer that answers none, unless there were more at the beginning. */
const WIDEST = 16;
/** Number of ids above the known one that are tried before a peer is judged. */
const NEIGHBOURS_ABOVE = 2;
/** Messages of one probe to a peer that has never answered. */
const SEARCHED = 8;
/** A search begins so far below the id that the headend named. */
const SEARCHED_BELOW = 2;
/** How far the search for the id of a peer that has never answered goes. */
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

  /** The next id may be any of so many. No request is under way any more. */
  set(handle: number, possibleIds: number): void {
    this.#sessions.uncertainty[handle] = Math.min(possibleIds, FARTHEST) - 1;
    this.#sessions.end(handle);
  }

  /** No possible id was answered: their number doubles. Nothing changes if the next id is known. */
  widen(handle: number): void {
    const possible = this.possibleIds(handle);
    if (possible > 1 && possible < WIDEST) this.#sessions.uncertainty[handle] = Math.min(2 * possible, WIDEST) - 1;
  }

  /**
   * A peer whose next id is known is about to be judged. An unknown owner may have asked it, so that its id is another: so the
   * neighbouring ids are tried, too.
   */
  neighbours(handle: number): void {
    const { nextMid, uncertainty } = this.#sessions;
    if (this.possibleIds(handle) > 1) return;
    const below = Math.min(1, nextMid[handle]!);
    nextMid[handle]! -= below;
    uncertainty[handle] = below + NEIGHBOURS_ABOVE;
  }

  /**
   * The peer has never answered: its id is searched for around the one that its headend named. When all possible ids were tried in
   * vain, their number doubles.
   */
  search(handle: number): void {
    const { nextMid, uncertainty, window } = this.#sessions;
    const possible = this.possibleIds(handle);
    if (window[handle]! + 2 < 2 * windowsOf(possible, SEARCHED)) return;
    // Mostly upwards, because ids only grow; but the id that was named may be too high.
    const below = possible === 1 ? SEARCHED_BELOW : possible >>> 2;
    nextMid[handle] = Math.max(0, nextMid[handle]! - below);
    uncertainty[handle] = Math.min(Math.max(possible * 2, SEARCHED), FARTHEST) - 1;
    window[handle] = 0;
  }

  /** Whether one probe tries all possible ids, so that silence means something. */
  askable(handle: number): boolean {
    return this.possibleIds(handle) <= MOST_MESSAGES;
  }

  /**
   * Begins the next probe. If there are too many possible ids for one probe, each probe tries those after the last one's. In a
   * search every other probe tries the first ids, which are the likeliest, because the peer may come back at any moment.
   */
  next(handle: number, proven: boolean): void {
    const { window } = this.#sessions;
    const windows = windowsOf(this.possibleIds(handle), mostMessages(proven));
    const turns = proven || windows === 1 ? windows : 2 * windows;
    window[handle] = (window[handle]! + 1) % turns;
  }

  /** The lowest id that the present probe tries, counted from `nextMid`. */
  offset(handle: number, proven: boolean): number {
    const turn = this.#sessions.window[handle]!;
    if (proven) return turn * MOST_MESSAGES;
    return turn % 2 === 0 ? (turn / 2) * SEARCHED : 0;
  }

  /** How many ids it tries. @param proven the peer has answered before */
  count(handle: number, proven: boolean): number {
    return Math.min(mostMessages(proven), this.possibleIds(handle) - this.offset(handle, proven));
  }
}

/** How many probes it takes to try so many ids. */
function windowsOf(ids: number, messages: number): number {
  return Math.ceil(ids / messages);
}

function mostMessages(proven: boolean): number {
  return proven ? MOST_MESSAGES : SEARCHED;
}

/**
 * Ids that may be the next one of an SA when another owner may have asked its peer for `gapMs`: each exchange moved the id on by
 * one, and the request that was under way may have been answered.
 * @param possible ids that were possible before
 * @param heardAgeMs age of the last evidence now: evidence from the gap does not say how long the peer was silent before
 */
export function possibleIdsAfter(
  possible: number,
  { outstanding, fresh }: { readonly outstanding: boolean; readonly fresh: boolean },
  policy: Plan,
  heardAgeMs: number,
  gapMs: number,
): number {
  const spacingMs = leastSpacingMs(policy);
  const before = possible + (outstanding ? 1 : 0);
  // No owner had a reason to ask.
  const idleOnly = policy.mode !== Mode.PERIODIC && !policy.proveEveryMs;
  const quiet = idleOnly && !fresh && heardAgeMs >= gapMs && heardAgeMs < spacingMs;
  if (quiet || spacingMs === 0) return before;
  return before + 1 + Math.floor(gapMs / spacingMs);
}
