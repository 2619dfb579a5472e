/**
 * `npm run load`: how much one node carries. Millions of spokes on two cores, registered by a headend that costs next to nothing;
 * a share of them with traffic, the rest asked and answering over UDP; some die, and every verdict is judged.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { OperatorService } from '../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode, PolicySchema } from '../proto/gen/dpd/v1/types_pb.js';
import { ApiClient } from '../services/api/grpc/client.ts';
import { plaintext } from '../services/api/grpc/credentials.ts';
import { flag, integer, readSettings, runMain } from '../services/base/settings.ts';
import { SettingsError } from '../workers/base/errors.ts';
import { round } from './bench/measure.ts';
import { withNode } from './bench/rig.ts';
import { total } from './counters.ts';
import { Ledger, quantile } from './demo/ledger.ts';
import { LeanHeadend } from './headend/lean-headend.ts';
import type { NodeProcess } from './node-process.ts';
import { type FleetShape, spread, suiteNamed } from './spokes/fleet.ts';
import { ikev1SuiteNamed } from './spokes/ikev1.ts';
import { SpokesThread } from './spokes/thread.ts';

const SETTINGS = {
  spokes: { env: 'LOAD_SPOKES', help: 'spokes', fallback: '100000', parse: integer(1, 4_000_000) },
  traffic: { env: 'LOAD_TRAFFIC', help: 'share with traffic, percent', fallback: '0', parse: integer(0, 100) },
  every: {
    env: 'LOAD_EVERY',
    help: 'traffic of each is told so often, ms; 0: a third of the interval',
    fallback: '0',
    parse: integer(0, 3_600_000),
  },
  kill: { env: 'LOAD_KILL', help: 'spokes to kill', fallback: '100', parse: integer(0, 1_000_000) },
  interval: { env: 'LOAD_INTERVAL', help: 'policy: interval, ms', fallback: '30000', parse: integer(1_000, 3_600_000) },
  retryInterval: {
    env: 'LOAD_RETRY_INTERVAL',
    help: 'policy: retry interval, ms',
    fallback: '2000',
    parse: integer(200, 60_000),
  },
  retries: { env: 'LOAD_RETRIES', help: 'policy: retries', fallback: '5', parse: integer(1, 20) },
  calm: { env: 'LOAD_CALM', help: 'time before the first death, ms', fallback: '60000', parse: integer(0, 86_400_000) },
  ike: { env: 'LOAD_IKE', help: 'IKE version of the spokes, 1 or 2', fallback: '2', parse: integer(1, 2) },
  shards: { env: 'LOAD_SHARDS', help: 'shards, a power of two', fallback: '8', parse: integer(1, 256) },
  json: {
    env: 'LOAD_JSON',
    help: 'last line of stdout is one JSON object',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
} as const;

type Settings = { [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['parse']> };

const SOCKETS = 128;
/** By IKE version. */
const SUITES = { 1: ikev1SuiteNamed('aes-256-cbc', 'sha256'), 2: suiteNamed('aes-256-gcm') } as const;
/** Deaths are spread over this share of the interval. */
const KILL_SPREAD = 0.8;
/** How often progress is printed, ms. */
const LOOK_MS = 5_000;
/** How long verdicts may be late at most before one counts as missed, ms. */
const PATIENCE_MS = 10_000;

await runMain(async () => {
  const settings = readSettings('npm run load -- [settings]: how much one node carries', SETTINGS) as Settings;
  if (settings.kill > settings.spokes)
    throw new SettingsError(`--kill=${settings.kill}: must not be more than the ${settings.spokes} spokes`);
  const env = { DPD_MAX_PEERS: String(settings.spokes) };
  const report = await withNode(env, (node) => run(settings, node));
  const lines = settings.json
    ? [JSON.stringify(report)]
    : Object.entries(report).map(([name, value]) => `${name.padEnd(28)}${JSON.stringify(value)}`);
  process.stdout.write(`${lines.join('\n')}\n`);
  process.exitCode = report.false_verdicts === 0 && report.missed === 0 ? 0 : 1;
});

async function run(settings: Settings, node: NodeProcess) {
  const { spokes: count, interval, retryInterval, retries, shards } = settings;
  const suite = SUITES[settings.ike as 1 | 2];
  const say = (phase: string) => process.stderr.write(`${(performance.now() / 1_000).toFixed(1)} s  ${phase}\n`);
  const detectionMs = interval + retries * retryInterval;
  const policy = create(PolicySchema, {
    mode: Mode.ON_IDLE,
    intervalMs: interval,
    retryIntervalMs: retryInterval,
    retries,
    jitterPercent: 10,
    action: Action.CLEAR,
  });
  const ledger = new Ledger(detectionMs);
  say(`making ${count} spokes`);
  const spokes = await SpokesThread.start({ seed: 'load', count, sockets: SOCKETS, suite }, (spoke, lastAnswerUnix) =>
    ledger.killed(`spoke-${spoke}`, lastAnswerUnix),
  );
  const client = new ApiClient(plaintext(node.address));
  try {
    const snapshot = async () => {
      const [{ cpuMicros }, { shards: counted }] = await Promise.all([
        spokes.cost(),
        client.unary(OperatorService.method.getCounters, {}),
      ]);
      return {
        ...total(counted),
        at: performance.now(),
        nodeMicros: node.cpuSeconds() * 1e6,
        spokesMicros: cpuMicros,
      };
    };
    const idleRss = node.rssBytes();
    const fleet: FleetShape = { count, shards, seed: 'load', suite, sockets: spokes.sockets };
    const victims = spread(count, settings.kill);
    const traffic = { share: settings.traffic / 100, everyMs: settings.every || interval / 3 };
    /** The shard's own part of the lateness, ms; the rest is the way through Redis to the headend. */
    const decidedLate: number[] = [];
    const headend = new LeanHeadend(node.address, fleet, policy, traffic, (verdict) => {
      ledger.verdict(verdict, Date.now());
      decidedLate.push(Number(verdict.history!.decidedUnixMs - verdict.history!.earliestUnixMs));
    });
    say('registering');
    const registering = performance.now();
    await headend.register(new Set(victims));
    const registerS = (performance.now() - registering) / 1_000;
    ledger.registered(Date.now());
    const watch = async (phase: string, ms: number, until = () => false) => {
      for (const end = performance.now() + ms; performance.now() < end && !until(); ) {
        const { peers, probing, probesAnswered, behindMs } = await snapshot();
        say(`${phase}: ${peers} peers, ${probing} probing, ${probesAnswered} probes answered, ${behindMs} ms behind`);
        await sleep(Math.min(LOOK_MS, Math.max(1, end - performance.now())));
      }
    };
    // The first interval spreads the first probes; what follows is the steady state.
    await watch('settling', interval);
    const before = await snapshot();
    await watch('calm', settings.calm);
    const after = await snapshot();
    const rss = node.rssBytes();
    const first = performance.now();
    for (const [n, spoke] of victims.entries()) {
      await sleep(Math.max(0, first + (n * interval * KILL_SPREAD) / victims.length - performance.now()));
      headend.silence(spoke);
      ledger.expect(`spoke-${spoke}`, Date.now());
      spokes.kill(spoke, 0);
    }
    await watch('waiting for verdicts', detectionMs + PATIENCE_MS, () => ledger.complete);
    await watch('looking for false verdicts', detectionMs);
    headend.close();
    const seconds = (after.at - before.at) / 1_000;
    const probes = after.probesAnswered - before.probesAnswered;
    decidedLate.sort((a, b) => a - b);
    return {
      spokes: count,
      ike: settings.ike,
      ...ledger.report(),
      decided_late_ms: { p50: quantile(decidedLate, 0.5), p99: quantile(decidedLate, 0.99) },
      register_s: round(registerS),
      calm_s: round(seconds),
      calm_probes: probes,
      probes_per_s: Math.round(probes / seconds),
      evidence_per_s: Math.round((after.evidenceHeard - before.evidenceHeard) / seconds),
      node_cores: round((after.nodeMicros - before.nodeMicros) / 1e6 / seconds),
      spokes_cores: round((after.spokesMicros - before.spokesMicros) / 1e6 / seconds),
      node_cpu_us_per_probe: round((after.nodeMicros - before.nodeMicros) / Math.max(1, probes)),
      rss_bytes_per_spoke: Math.round((rss - idleRss) / count),
    };
  } finally {
    client.close();
    await spokes.stop();
  }
}
