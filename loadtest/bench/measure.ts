/** How benchmarks count: CPU time of this thread from the kernel's accounting, so that a busy machine does not matter. */

/** What a benchmark reports: figures with units in their names, its baseline, and how many times the baseline it costs. */
export type Result = Readonly<Record<string, number>> & { readonly baseline: number; readonly ratio: number };

const ROUNDS = 5;
/** The kernel accounts CPU in steps of some ms: a round must be long against one. */
const ROUND_MS = 300;

/** CPU time of this thread so far, us. */
export function threadCpuMicros(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}

/** Median over five rounds of the CPU nanoseconds that one of `operations` in `run` takes. */
export function cpuNanosPerOperation(operations: number, run: () => void): number {
  run();
  const started = performance.now();
  run();
  const repeats = Math.ceil(ROUND_MS / Math.max(performance.now() - started, 0.01));
  const rounds = Array.from({ length: ROUNDS }, () => {
    const before = threadCpuMicros();
    for (let n = 0; n < repeats; n++) run();
    return ((threadCpuMicros() - before) * 1_000) / (operations * repeats);
  });
  return round(median(rounds));
}

/** The middle one of an odd number of values. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

/** Two decimals. */
export function round(value: number): number {
  return Math.round(value * 100) / 100;
}
