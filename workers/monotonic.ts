/** The kernel's monotonic clock, the same in every thread: performance.now() begins anew in each. */

const offset = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Ms on the kernel's monotonic clock. */
export function monotonicMs(): number {
  return performance.now() + offset;
}
