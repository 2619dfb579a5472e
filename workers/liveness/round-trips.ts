/**
 * Round trip and loss of each peer, in 15 bytes. The round trip is smoothed as TCP does it (RFC 6298 section 2); loss is one bit for
 * each of the last 64 probes.
 */

import { widen } from '../base/columns.ts';

/** RFC 6298 section 2.3: weights of a new sample in the variation and in the smoothed round trip. */
const BETA = 1 / 4;
const ALPHA = 1 / 8;
/** The variation is kept in steps of 1/16 ms, up to 4 s. */
const STEPS_PER_MS = 16;
const MOST_STEPS = 65_535;
/** Probes remembered. */
const REMEMBERED = 64;

/** Upper bounds of the histogram's buckets, ms: 1 to 16,384. One more bucket has what is above. */
export const BOUNDS_MS: readonly number[] = Array.from({ length: 15 }, (_, n) => 2 ** n);

/** The round trips of all peers since the shard was loaded: how many in each bucket, and their sum, ms. */
export type RoundTripCounts = { readonly counts: readonly number[]; readonly sumMs: number };

/** What is known of one peer. */
export type RoundTrip = {
  /** SRTT and RTTVAR, ms; 0 without a sample. */
  readonly smoothedMs: number;
  readonly variationMs: number;
  /** Probes remembered, and those of them that were not answered. */
  readonly probes: number;
  readonly lost: number;
};

export const NO_ROUND_TRIP: RoundTrip = { smoothedMs: 0, variationMs: 0, probes: 0, lost: 0 };

export class RoundTrips {
  /** ms; 0: no sample yet. */
  #smoothed: Float32Array;
  #variation: Uint16Array;
  /** A bit for each probe, 1 if it was lost; the latest is the lowest bit of `#late`. */
  #early: Int32Array;
  #late: Int32Array;
  #probes: Uint8Array;
  /** Of all peers. */
  readonly #counts = new Float64Array(BOUNDS_MS.length + 1);
  readonly #sum = new Float64Array(1);

  constructor(capacity: number) {
    this.#smoothed = new Float32Array(capacity);
    this.#variation = new Uint16Array(capacity);
    this.#early = new Int32Array(capacity);
    this.#late = new Int32Array(capacity);
    this.#probes = new Uint8Array(capacity);
  }

  grow(capacity: number): void {
    this.#smoothed = widen(new Float32Array(capacity), this.#smoothed);
    this.#variation = widen(new Uint16Array(capacity), this.#variation);
    this.#early = widen(new Int32Array(capacity), this.#early);
    this.#late = widen(new Int32Array(capacity), this.#late);
    this.#probes = widen(new Uint8Array(capacity), this.#probes);
  }

  /** Nothing is known of the peer, or nothing any more: it has another address. */
  clear(handle: number): void {
    this.#smoothed[handle] = 0;
    this.#variation[handle] = 0;
    this.#early[handle] = 0;
    this.#late[handle] = 0;
    this.#probes[handle] = 0;
  }

  /** A probe was answered. */
  answered(handle: number): void {
    this.#note(handle, 0);
  }

  /** A probe was not answered in time. */
  lost(handle: number): void {
    this.#note(handle, 1);
  }

  /** An answer to a probe that was sent once came after so long. Answers to repeated ones must not count (RFC 6298 section 3). */
  sample(handle: number, ms: number): void {
    // The bucket is the number of bits of the whole ms.
    this.#counts[Math.min(BOUNDS_MS.length, 32 - Math.clz32(ms))]!++;
    this.#sum[0]! += ms;
    const before = this.#smoothed[handle]!;
    if (before === 0) {
      this.#smoothed[handle] = ms;
      this.#variation[handle] = steps(ms / 2);
      return;
    }
    const variation = this.#variation[handle]! / STEPS_PER_MS;
    this.#variation[handle] = steps((1 - BETA) * variation + BETA * Math.abs(before - ms));
    this.#smoothed[handle] = (1 - ALPHA) * before + ALPHA * ms;
  }

  of(handle: number): RoundTrip {
    return {
      smoothedMs: this.#smoothed[handle]!,
      variationMs: this.#variation[handle]! / STEPS_PER_MS,
      probes: this.#probes[handle]!,
      lost: bits(this.#early[handle]!) + bits(this.#late[handle]!),
    };
  }

  /** Samples of all peers, peers that have gone included. */
  counts(): RoundTripCounts {
    return { counts: [...this.#counts], sumMs: this.#sum[0]! };
  }

  #note(handle: number, lost: number): void {
    const late = this.#late[handle]!;
    this.#early[handle] = (this.#early[handle]! << 1) | (late >>> 31);
    this.#late[handle] = (late << 1) | lost;
    if (this.#probes[handle]! < REMEMBERED) this.#probes[handle]!++;
  }
}

function steps(ms: number): number {
  return Math.min(MOST_STEPS, Math.round(ms * STEPS_PER_MS));
}

/** How many bits are set. */
function bits(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}
