/**
 * Ends a process whose main thread hangs, as it answers nobody, and takes no signal either: a supervisor starts it anew, and its shards go
 * elsewhere. No dependency can keep the process in that state.
 */

import { Worker } from 'node:worker_threads';
import type { Logger } from '../log.ts';

/** Times of a watchdog, ms. */
export type WatchdogTimes = { readonly lookMs: number; readonly tellMs: number; readonly endMs: number };

export type WatchdogData = {
  /** The main thread adds to it at each beat. */
  readonly beats: Int32Array<SharedArrayBuffer>;
  readonly lookMs: number;
  /** Looks without a beat until it is told, and until the process is ended. */
  readonly tellAfter: number;
  readonly endAfter: number;
};

/** Other nodes have a shard after a small part of this: there is nothing left to wait for. A processor that others use up must not end it. */
const TIMES: WatchdogTimes = { lookMs: 1_000, tellMs: 5_000, endMs: 60_000 };

/** Begins to watch this thread. Neither the beats nor the watching thread keep the process. */
export function startWatchdog(log: Logger, { lookMs, tellMs, endMs }: WatchdogTimes = TIMES): void {
  const beats = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  setInterval(() => Atomics.add(beats, 0, 1), lookMs / 2).unref();
  const workerData: WatchdogData = {
    beats,
    lookMs,
    tellAfter: Math.ceil(tellMs / lookMs),
    endAfter: Math.ceil(endMs / lookMs),
  };
  const resourceLimits = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 16 };
  const worker = new Worker(new URL('./watchdog-thread.ts', import.meta.url), {
    workerData,
    resourceLimits,
    execArgv: [],
  });
  worker.on('error', (error) => log.error({ reason: (error as Error).message }, 'no watchdog'));
  worker.unref();
}
