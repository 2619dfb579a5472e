/**
 * What a probe costs as peers grow from a thousand to a million: the whole shard but the socket, in virtual time, with the
 * spokes' answers made in the same thread. Baseline: ten thousand peers; the ratio is the million's.
 */

import { create } from '@bufbuild/protobuf';
import { Mode, PolicySchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { toShardSa } from '../../services/concentrator/shard-sa.ts';
import { readCanary } from '../../workers/canary.ts';
import { SUITES } from '../../workers/ike/algorithms.ts';
import { SPREAD } from '../../workers/liveness/machine.ts';
import { pooledRandom } from '../../workers/random.ts';
import { Shard } from '../../workers/shard.ts';
import { type FleetShape, saOf } from '../spokes/fleet.ts';
import { Responder } from '../spokes/responder.ts';
import { type Result, round, threadCpuMicros } from './measure.ts';

const SIZES = { '1e3': 1_000, '1e4': 10_000, '1e5': 100_000, '1e6': 1_000_000 } as const;
const INTERVAL_MS = 30_000;
const TICK_MS = 5;
/** Probes measured at least, after a round through all peers. */
const PROBES = 200_000;
const GCM_256 = SUITES.findIndex(({ cipher, icvLength }) => cipher === 'aes-256-gcm' && icvLength === 16);
const SOCKETS = [1, 2].map((n) => ({ address: `127.0.0.${n}`, port: 9 }));

export async function scale(): Promise<Result> {
  const micros = Object.fromEntries(
    Object.entries(SIZES).map(([name, peers]) => [`cpu_us_per_probe_${name}`, microsPerProbe(peers)]),
  );
  const baseline = micros['cpu_us_per_probe_1e4']!;
  return { ...micros, baseline, ratio: round(micros['cpu_us_per_probe_1e6']! / baseline) };
}

function microsPerProbe(peers: number): number {
  let now = 0;
  const seed = 'scale';
  const spokes = new Responder(seed, peers, GCM_256);
  const answers: Buffer[] = [];
  const shard: Shard = new Shard({
    now: () => now,
    wall: () => now,
    fillRandom: pooledRandom(),
    send(message) {
      const canary = readCanary(message);
      const answer = canary === undefined ? spokes.answer(message) : undefined;
      if (answer) answers.push(answer);
      return true;
    },
    post: () => {},
  });
  shard.handle({
    type: 'path',
    path: { canaryAddress: 1, canaryPort: 9, guarded: false, ready: true, open: true },
  });
  const untilMs = Number.MAX_SAFE_INTEGER;
  shard.handle({ type: 'lease', fromMs: 0, untilMs, vouchedUntilMs: untilMs });
  const fleet: FleetShape = { count: peers, shards: 1, seed, suite: GCM_256, sockets: SOCKETS };
  const policy = create(PolicySchema, {
    mode: Mode.PERIODIC,
    intervalMs: INTERVAL_MS,
    retryIntervalMs: 2_000,
    retries: 5,
  });
  const known = { nextMid: 0, heardAgeMs: 0, dead: false, candidates: 0, site: 0, firstAskMs: SPREAD };
  for (let n = 0; n < peers; n++) {
    const { keys, ...sa } = saOf(fleet, n, 0, policy);
    shard.handle({ type: 'upsert', sas: [toShardSa(n, sa, keys, known)] });
  }
  const run = (untilProbes: number) => {
    while (shard.counters().probesAnswered < untilProbes)
      for (let tick = 0; tick < 20; tick++) {
        now += TICK_MS;
        shard.tick();
        // Answers come a tick later, as over a network.
        for (const answer of answers) shard.receive(answer);
        answers.length = 0;
      }
  };
  run(peers);
  const before = { cpu: threadCpuMicros(), probes: shard.counters().probesAnswered };
  run(before.probes + Math.max(PROBES, peers / 2));
  return round((threadCpuMicros() - before.cpu) / (shard.counters().probesAnswered - before.probes));
}
