/**
 * What a probe costs as peers grow from a thousand to a million: the whole shard but the socket, in virtual time, with the
 * spokes' answers made in the same thread. Baseline: ten thousand peers; the ratio is the million's.
 */

import { ClosedLoop } from '../spokes/closed-loop.ts';
import { suiteNamed } from '../spokes/fleet.ts';
import { type Result, round, threadCpuMicros } from './measure.ts';

const SIZES = { '1e3': 1_000, '1e4': 10_000, '1e5': 100_000, '1e6': 1_000_000 } as const;
const INTERVAL_MS = 30_000;
/** Probes measured at least, after a round through all peers. */
const PROBES = 200_000;
/** Time between looks at whether that is done, ms. */
const STEP_MS = 100;

export async function scale(): Promise<Result> {
  const micros = Object.fromEntries(
    Object.entries(SIZES).map(([name, peers]) => [`cpu_us_per_probe_${name}`, microsPerProbe(peers)]),
  );
  const baseline = micros['cpu_us_per_probe_1e4']!;
  return { ...micros, baseline, ratio: round(micros['cpu_us_per_probe_1e6']! / baseline) };
}

function microsPerProbe(peers: number): number {
  const loop = new ClosedLoop({
    peers,
    seed: 'scale',
    suite: suiteNamed('aes-256-gcm'),
    intervalMs: INTERVAL_MS,
    retryIntervalMs: 2_000,
    retries: 5,
  });
  const answered = () => loop.shard.counters().probesAnswered;
  const run = (untilProbes: number) => {
    while (answered() < untilProbes) loop.run(STEP_MS);
  };
  run(peers);
  const before = { cpu: threadCpuMicros(), probes: answered() };
  run(before.probes + Math.max(PROBES, peers / 2));
  return round((threadCpuMicros() - before.cpu) / (answered() - before.probes));
}
