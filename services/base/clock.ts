/** The time for the cluster's logic, as an interface, so that a simulator can control it. */

import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from '../../workers/base/monotonic.ts';

export type Clock = {
  /** Monotonic, ms; the same clock as the shards' threads have. */
  now(): number;
  /** Unix time, ms: as it was when the process began, plus monotonic time. Steps of the system's clock do not reach it. */
  wall(): number;
  sleep(ms: number): Promise<void>;
  /** Runs `work` once after `ms`; the function returned cancels it. */
  after(ms: number, work: () => void): () => void;
  /** Runs `work` every `ms` until cancelled. */
  every(ms: number, work: () => void): () => void;
};

/** Unix ms at which this process's monotonic clock was 0, by the system's clock when the process began. */
export const MONOTONIC_ZERO_UNIX = Date.now() - monotonicMs();

export const systemClock: Clock = {
  now: monotonicMs,
  wall: () => MONOTONIC_ZERO_UNIX + monotonicMs(),
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
