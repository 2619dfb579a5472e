/**
 * What a probe costs as peers grow from a thousand to a million: the whole shard but the socket, in virtual time. The
 * spokes answer in the same thread, and the time that takes is taken off. Baseline: ten thousand peers; the ratio is the million's.
 */

import { ClosedLoop } from '../../spokes/closed-loop.ts';
import { suiteNamed } from '../../spokes/fleet.ts';
import { median, type Result, round, threadCpuMicros } from '../measure.ts';

const SIZES = { '1e3': 1_000, '1e4': 10_000, '1e5': 100_000, '1e6': 1_000_000 } as const;
const INTERVAL_MS = 30_000;
/** Sizes are measured in turn, so often, and the median counts: a machine is not as fast from one minute to the next. */
const ROUNDS = 9;
/** Probes of each size in each round. */
const PROBES = 30_000;
/** Time between looks at whether that is done, ms. */
const STEP_MS = 20;

export async function scale(): Promise<Result> {
  const loops = Object.entries(SIZES).map(([name, peers]) => {
    const loop = settled(peers);
    return { name, loop, costs: [] as number[] };
  });
  for (let n = 0; n < ROUNDS; n++) for (const { loop, costs } of loops) costs.push(microsPerProbe(loop));
  const micros = Object.fromEntries(
    loops.map(({ name, costs }) => [`cpu_us_per_probe_${name}`, round(median(costs))] as const),
  );
  const baseline = micros['cpu_us_per_probe_1e4']!;
  return { ...micros, baseline, ratio: round(micros['cpu_us_per_probe_1e6']! / baseline) };
}

/** A shard that has asked all its peers once. */
function settled(peers: number): ClosedLoop {
  const loop = new ClosedLoop({
    peers,
    seed: 'scale',
    suite: suiteNamed('aes-256-gcm'),
    intervalMs: INTERVAL_MS,
    retryIntervalMs: 2_000,
    retries: 5,
  });
  runUntil(loop, peers);
  return loop;
}

function microsPerProbe(loop: ClosedLoop): number {
  const node = () => threadCpuMicros() - loop.spokesMicros;
  const before = { micros: node(), probes: answered(loop) };
  runUntil(loop, before.probes + PROBES);
  return (node() - before.micros) / (answered(loop) - before.probes);
}

function runUntil(loop: ClosedLoop, probes: number): void {
  while (answered(loop) < probes) loop.run(STEP_MS);
}

function answered({ shard }: ClosedLoop): number {
  return shard.counters().probesAnswered;
}
