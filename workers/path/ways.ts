/**
 * The ways that a shard's probes take out of the headend: one for each of the headend's addresses. An SA names the address that its
 * spoke knows; the headend says by which marker its rules send something from there, and where canaries of that way go.
 */

import { MAX_WAYS, NO_WAY } from '../liveness/interlock.ts';

/** The headend's end of an SA or a way. */
export type End = {
  /** Its address; empty: the only one. */
  readonly local: string;
  /** Its port, 500 or 4500. */
  readonly ikePort: number;
};

/** One way, as the headend names it. */
export type Way = End & {
  /** Number by which the headend's rules know it: see ikev2/header.ts, markers. */
  readonly index: number;
  /** Target of canaries, which go like probes; empty: no peer is probed this way. */
  readonly canaryAddress: string;
  readonly canaryPort: number;
};

/** How probes leave (see the Path message of the API). */
export type ShardPath = {
  /** Probes carry a false marker that only the headend's rules correct, and SAs have to be parked. */
  readonly guarded: boolean;
  /** False suspends direct probing. */
  readonly ready: boolean;
  /** The rules bring canaries home, out and in. Otherwise the headend vouches for them. */
  readonly returning: boolean;
  readonly ways: readonly Way[];
};

/** Whether an SA with one end is probed by a way with the other end. */
export function sameEnd(a: End, b: End): boolean {
  return a.local === b.local && a.ikePort === b.ikePort;
}

/** Numbers of the headend's ends in a shard: a peer's way is one. They are kept for as long as the shard runs. */
export class WayNumbers {
  readonly #ends: End[] = [];

  /** Number of one of the headend's ends; {@link NO_WAY} past {@link MAX_WAYS}. */
  of(end: End): number {
    const number = this.#ends.findIndex((known) => sameEnd(known, end));
    if (number >= 0) return number;
    if (this.#ends.length === MAX_WAYS) return NO_WAY;
    return this.#ends.push({ local: end.local, ikePort: end.ikePort }) - 1;
  }

  /** Ends by number. */
  get ends(): readonly End[] {
    return this.#ends;
  }
}
