/**
 * `npm run load`: how much one node carries. Millions of spokes on two cores, registered by a headend that costs next to nothing;
 * a share of them with traffic, the rest asked and answering over UDP; some die, and every verdict is judged.
 */

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { create } from '@bufbuild/protobuf';
import { OperatorService } from '../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode, PolicySchema } from '../proto/gen/dpd/v1/types_pb.js';
import { ApiClient } from '../services/grpc/client.ts';
import { plaintext } from '../services/grpc/credentials.ts';
import { flag, integer, readSettings, runMain, SettingsError } from '../services/settings.ts';
import { withNode } from './bench/rig.ts';
import { Ledger } from './demo-ledger.ts';
import { LeanHeadend } from './headend/lean-headend.ts';
import type { NodeProcess } from './node-process.ts';
import { type FleetShape, suiteNamed } from './spokes/fleet.ts';
import type { FromSpokes, ToSpokes } from './spokes/protocol.ts';

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
const SUITE = suiteNamed('aes-256-gcm');
/** Deaths are spread over this share of the interval. */
const KILL_SPREAD = 0.8;
const POLL_MS = 500;
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
  const worker = new Worker(new URL('./spokes/worker.ts', import.meta.url));
  const client = new ApiClient(plaintext(node.address));
  try {
    say(`making ${count} spokes`);
    const tell = (message: ToSpokes) => worker.postMessage(message);
    tell({ type: 'start', seed: 'load', count, sockets: SOCKETS, suite: SUITE });
    const [ready] = (await once(worker, 'message')) as [Extract<FromSpokes, { type: 'ready' }>];
    let heardCost: (cost: Extract<FromSpokes, { type: 'cost' }>) => void = () => {};
    worker.on('message', (message: FromSpokes) => {
      if (message.type === 'cost') heardCost(message);
      else if (message.type === 'killed') ledger.killed(`spoke-${message.spoke}`, message.lastAnswerUnix);
    });
    const snapshot = async () => {
      const spokesCost = new Promise<Extract<FromSpokes, { type: 'cost' }>>((resolve) => {
        heardCost = resolve;
      });
      tell({ type: 'cost' });
      const [{ cpuMicros, answered }, response] = await Promise.all([
        spokesCost,
        client.unary(OperatorService.method.getCounters, {}),
      ]);
      const sum = (read: (shard: (typeof response.shards)[number]) => number | bigint) =>
        response.shards.reduce((all, shard) => all + Number(read(shard)), 0);
      return {
        at: performance.now(),
        nodeMicros: node.cpuSeconds() * 1e6,
        spokesMicros: cpuMicros,
        answers: answered,
        probes: sum((shard) => shard.probesAnswered),
        evidence: sum((shard) => shard.evidenceHeard),
        peers: sum((shard) => shard.peers),
        probing: sum((shard) => shard.probing),
        behindMs: Math.max(0, ...response.shards.map((shard) => shard.behindMs)),
      };
    };
    const idleRss = node.rssBytes();
    const fleet: FleetShape = { count, shards, seed: 'load', suite: SUITE, sockets: ready.sockets };
    const victims = Array.from({ length: settings.kill }, (_, n) => Math.floor((n * count) / settings.kill));
    const traffic = { share: settings.traffic / 100, everyMs: settings.every || interval / 3 };
    /** What of the lateness is the shard's own, ms: the rest is the way through Redis to the headend. */
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
        const { peers, probing, probes, behindMs } = await snapshot();
        say(`${phase}: ${peers} peers, ${probing} probing, ${probes} probes answered, ${behindMs} ms behind`);
        await sleep(Math.min(10 * POLL_MS, Math.max(1, end - performance.now())));
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
      tell({ type: 'kill', spoke, life: 0 });
    }
    await watch('waiting for verdicts', detectionMs + PATIENCE_MS, () => ledger.complete);
    await watch('looking for false verdicts', detectionMs);
    headend.close();
    const seconds = (after.at - before.at) / 1_000;
    const probes = after.probes - before.probes;
    const round = (value: number) => Math.round(value * 100) / 100;
    return {
      spokes: count,
      ...ledger.report(),
      decided_late_ms: { p50: at(decidedLate, 0.5), p99: at(decidedLate, 0.99) },
      register_s: round(registerS),
      calm_s: round(seconds),
      calm_probes: probes,
      probes_per_s: Math.round(probes / seconds),
      evidence_per_s: Math.round((after.evidence - before.evidence) / seconds),
      node_cores: round((after.nodeMicros - before.nodeMicros) / 1e6 / seconds),
      spokes_cores: round((after.spokesMicros - before.spokesMicros) / 1e6 / seconds),
      node_cpu_us_per_probe: round((after.nodeMicros - before.nodeMicros) / Math.max(1, probes)),
      rss_bytes_per_spoke: Math.round((rss - idleRss) / count),
    };
  } finally {
    client.close();
    await worker.terminate();
  }
}

/** The value that this share of all is not above. */
function at(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
