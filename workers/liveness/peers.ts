/** The peer table: a structure of arrays. A peer is an index, its handle; a column is one typed array. */

import { widen } from '../base/columns.ts';
import { RoundTrips } from './round-trips.ts';

export const State = {
  /** Handle not in use. */
  FREE: 0,
  /** Heard from in time. */
  ALIVE: 1,
  /** Probed, not answered yet. */
  PROBING: 2,
  /** ON_DEMAND with nothing sent since it was last heard: no timer. */
  QUIET: 3,
  /** Wants a probe that the interlock forbids. */
  BLOCKED: 4,
  /** Verdict given. */
  DEAD: 5,
  /** Policy mode DISABLED. */
  UNWATCHED: 6,
  /** Verdict given but held back; probed now and then, because the verdict may be wrong. */
  HELD: 7,
  /** Probed and silent, but it has never answered here, or is muted: not judged for that, and still probed. */
  UNPROVEN: 8,
} as const;
export type State = (typeof State)[keyof typeof State];

/** Number of values in {@link State}. */
const STATES = 9;

export const Flag = {
  /** Probes of this peer need a vouched path. */
  GATED: 1,
  /** A gated peer that may be probed: its SA is parked, or the path is not guarded. */
  READY: 2,
  /** Not asked yet since it was added with a spread first probe. */
  FRESH: 4,
  /** It has answered a probe, since it was added or its address changed: its silence means something. */
  PROVEN: 8,
  /** Probed again after its verdict was held back: its answer is reported. */
  REASKED: 16,
  /** Must be probed at once, whatever its state. */
  WANTED: 32,
  /** Someone looks at this peer: what happens to it is told. */
  TRACED: 64,
  /** The request of the present probe had been sent before, so that its answer says nothing about the round trip. */
  REPEATED: 128,
  /** Asked although it is heard from; not answered yet. */
  PROVING: 256,
} as const;

export class PeerTable {
  state: Uint8Array;
  flags: Uint16Array;
  /** Probes sent in the present suspicion. */
  attempt: Uint8Array;
  /** Messages of the probe under way that are still to be sent. */
  unsent: Uint8Array;
  /** Answers in a row since it was declared dead. */
  answers: Uint8Array;
  policy: Uint16Array;
  /** The way that its probes take: which of the headend's addresses they leave from. */
  way: Uint8Array;
  /** Site label, as a number that the owner of the table chose. */
  site: Uint16Array;
  /** Last evidence, ms. */
  heardAt: Float64Array;
  /** Last traffic towards the peer, ms; empty until {@link rememberSent}. */
  sentAt: Float64Array = new Float64Array(0);
  /** Last probe sent, ms. */
  probeAt: Float64Array;
  /** Where the present suspicion's probe times are anchored, ms. */
  cycleAt: Float64Array;
  /** Blind time given back in the present suspicion, ms. */
  blindMs: Float32Array;
  readonly roundTrips: RoundTrips;
  /** Peers by state. */
  readonly population = new Uint32Array(STATES);

  constructor(capacity: number) {
    this.state = new Uint8Array(capacity);
    this.flags = new Uint16Array(capacity);
    this.attempt = new Uint8Array(capacity);
    this.unsent = new Uint8Array(capacity);
    this.answers = new Uint8Array(capacity);
    this.policy = new Uint16Array(capacity);
    this.way = new Uint8Array(capacity);
    this.site = new Uint16Array(capacity);
    this.heardAt = new Float64Array(capacity);
    this.probeAt = new Float64Array(capacity);
    this.cycleAt = new Float64Array(capacity);
    this.blindMs = new Float32Array(capacity);
    this.roundTrips = new RoundTrips(capacity);
  }

  /** Handles there is room for. */
  get capacity(): number {
    return this.state.length;
  }

  /** Makes room for handles below `capacity`. */
  grow(capacity: number): void {
    if (capacity <= this.capacity) return;
    this.state = widen(new Uint8Array(capacity), this.state);
    this.flags = widen(new Uint16Array(capacity), this.flags);
    this.attempt = widen(new Uint8Array(capacity), this.attempt);
    this.unsent = widen(new Uint8Array(capacity), this.unsent);
    this.answers = widen(new Uint8Array(capacity), this.answers);
    this.policy = widen(new Uint16Array(capacity), this.policy);
    this.way = widen(new Uint8Array(capacity), this.way);
    this.site = widen(new Uint16Array(capacity), this.site);
    this.heardAt = widen(new Float64Array(capacity), this.heardAt);
    if (this.sentAt.length > 0) this.sentAt = widen(neverSent(capacity), this.sentAt);
    this.probeAt = widen(new Float64Array(capacity), this.probeAt);
    this.cycleAt = widen(new Float64Array(capacity), this.cycleAt);
    this.blindMs = widen(new Float32Array(capacity), this.blindMs);
    this.roundTrips.grow(capacity);
  }

  /** From now on traffic towards peers is recorded. */
  rememberSent(): void {
    if (this.sentAt.length === 0) this.sentAt = neverSent(this.capacity);
  }

  /** The one place where a state changes. A probe under way ends with it. */
  enter(handle: number, state: State): void {
    const old = this.state[handle]!;
    if (old !== State.FREE) this.population[old]!--;
    if (state !== State.FREE) this.population[state]!++;
    this.state[handle] = state;
    this.unsent[handle] = 0;
  }
}

function neverSent(capacity: number): Float64Array {
  return new Float64Array(capacity).fill(Number.NEGATIVE_INFINITY);
}
