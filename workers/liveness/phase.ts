/**
 * When peers are probed. Neighbours in the table are probed together, because their columns share cache lines; all peers
 * together are spread evenly over time.
 */

import { TICK_MS } from './wheel.ts';

/** So many neighbours, as a power of two, have one phase: a line of the cache has 16 words. */
const NEIGHBOURS_BITS = 4;
/**
 * Fractions of 2^32 by which phases follow one another (the additive recurrence of the plastic number). Points with one as x
 * and the other as y spread evenly over a square: so peers that begin by the one and go on by the other never come in crowds.
 */
const FIRST_STEP = 0xc13fa9a9;
const STEP = 0x91e10da5;

/** When a peer is asked for the first time, ms from 0 to `intervalMs`. */
export function firstMoment(handle: number, intervalMs: number): number {
  return Math.floor(phase(handle, FIRST_STEP) * intervalMs);
}

/**
 * The last moment up to `latest` that recurs every `windowMs`: it brings neighbours together that were heard at different
 * times. In a window shorter than a tick there is none.
 */
export function recurringMoment(handle: number, latest: number, windowMs: number): number {
  if (windowMs < TICK_MS) return latest;
  const from = phase(handle, STEP) * windowMs;
  return from + Math.floor((latest - from) / windowMs) * windowMs;
}

/** In [0, 1). */
function phase(handle: number, step: number): number {
  return (Math.imul((handle >> NEIGHBOURS_BITS) + 1, step) >>> 0) / 2 ** 32;
}
