/** Time as the cluster's logic is told it, so that a simulator can own it. */

import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from '../workers/monotonic.ts';

export type Clock = {
  /** Monotonic, ms; the same clock as the shards' threads have. */
  now(): number;
  /** Unix time, ms. */
  wall(): number;
  sleep(ms: number): Promise<void>;
  /** Runs `work` once after `ms`; the function returned cancels it. */
  after(ms: number, work: () => void): () => void;
  /** Runs `work` every `ms` until cancelled. */
  every(ms: number, work: () => void): () => void;
};

export const systemClock: Clock = {
  now: monotonicMs,
  wall: () => Date.now(),
  sleep: (ms) => sleep(ms),
  after(ms, work) {
    const timer = setTimeout(work, ms);
    return () => clearTimeout(timer);
  },
  every(ms, work) {
    const timer = setInterval(work, ms);
    return () => clearInterval(timer);
  },
};
