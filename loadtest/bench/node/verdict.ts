/**
 * 100,000 spokes fall silent in the same second, storm hold off: how late their verdicts are, in Redis and at a watcher,
 * which reads them from there. Beside the floor: as many entries of that size put into a stream of a Redis by one client.
 */

import { Mode } from '../../../proto/gen/dpd/v1/types_pb.js';
import { watchEarliest } from '../../headend/raw-watch.ts';
import { type Result, round, threadCpuMicros } from '../measure.ts';
import { withNode, withRedis } from '../rig.ts';
import { encodeFleet, registerAll } from './register.ts';

const SPOKES = 100_000;
const SHARDS = 8;
/** Probes are run by the headend, which does not answer, so nobody is proven: what is measured begins where a suspicion ends. */
const POLICY = {
  mode: Mode.ON_IDLE,
  intervalMs: 10_000,
  retryIntervalMs: 1_000,
  retries: 2,
  jitterPercent: 30,
  unprovenMs: 1,
};
const VERDICT_BYTES = 300;
const WAIT_MS = 60_000;

export async function verdict(): Promise<Result> {
  const batches = encodeFleet(SPOKES, SHARDS, { policy: POLICY, keys: false });
  const baseline = await floorMicros();
  return withNode({ DPD_STORM_SHARE: '0' }, async (node) => {
    const lateness: number[] = [];
    const all = Promise.withResolvers<void>();
    const { streams, handles } = await registerAll(node, batches);
    const hear = (earliestUnixMs: number) => {
      if (lateness.push(Date.now() - earliestUnixMs) >= SPOKES) all.resolve();
    };
    const endWatch = watchEarliest(node.address, 'bench', hear, all.reject);
    // The last sign of life of all of them, in one moment.
    streams.forEach((stream, shard) => {
      stream.tell({ case: 'evidence', value: { heardHandles: handles[shard]! } });
    });
    const cpuS = node.cpuSeconds();
    const timeout = setTimeout(() => all.reject(new Error(`${lateness.length} of ${SPOKES} verdicts`)), WAIT_MS);
    await all.promise;
    clearTimeout(timeout);
    const micros = ((node.cpuSeconds() - cpuS) * 1e6) / SPOKES;
    lateness.sort((a, b) => a - b);
    endWatch();
    for (const stream of streams) stream.close();
    return {
      verdicts: lateness.length,
      late_p50_ms: lateness[SPOKES >> 1]!,
      late_p99_ms: lateness[Math.floor(SPOKES * 0.99)]!,
      late_max_ms: lateness[SPOKES - 1]!,
      cpu_us_per_verdict: round(micros),
      baseline,
      ratio: round(micros / baseline),
    };
  });
}

/** One entry of a stream, pipelined by the thousand, us of this thread's CPU. */
async function floorMicros(): Promise<number> {
  return withRedis(async (redis) => {
    const entry = Buffer.alloc(VERDICT_BYTES, 7);
    const before = threadCpuMicros();
    for (let n = 0; n < SPOKES / 2; n += 1_000) {
      const commands = redis.pipeline();
      for (let k = 0; k < 1_000; k++) commands.xadd('verdicts', '*', 'v', entry);
      await commands.exec();
    }
    return round((threadCpuMicros() - before) / (SPOKES / 2));
  });
}
