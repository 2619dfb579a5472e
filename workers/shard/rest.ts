/**
 * The pauses of a thread's shards. Each wake-up of the thread costs CPU, so all resting shards wake together with the
 * first one that is due.
 */

import { monotonicMs } from '../base/monotonic.ts';

const resting = new Set<() => void>();
let timer: NodeJS.Timeout | undefined;
/** When resting shards are woken, ms. */
let wakesAt = Number.POSITIVE_INFINITY;

/** Calls `wake` once, after so many ms at most. The function returned cancels it. */
export function rest(wake: () => void, longestMs: number): () => void {
  resting.add(wake);
  const at = monotonicMs() + longestMs;
  if (at < wakesAt) {
    clearTimeout(timer);
    timer = setTimeout(wakeAll, longestMs);
    wakesAt = at;
  }
  return () => resting.delete(wake);
}

function wakeAll(): void {
  wakesAt = Number.POSITIVE_INFINITY;
  const woken = [...resting];
  resting.clear();
  for (const wake of woken) wake();
}
