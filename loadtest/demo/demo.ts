/**
 * `npm run demo`: the main job, visible. A node or several with their Redis, a simulated headend, and thousands of
 * simulated spokes that speak real encrypted IKEv2 over loopback; some die, and each death must become one verdict.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { Action, Mode, PolicySchema, type Sa } from '../../proto/gen/dpd/v1/types_pb.js';
import { Agent } from '../../services/agent/agent.ts';
import { NodeChannels } from '../../services/agent/channels.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { createLogger } from '../../services/base/log.ts';
import { flag, integer, readSettings, runMain } from '../../services/base/settings.ts';
import { SettingsError } from '../../workers/base/errors.ts';
import { SUITES } from '../../workers/ikev2/suites.ts';
import { round } from '../bench/measure.ts';
import { total } from '../counters.ts';
import { SimulatedHeadend } from '../headend/simulated.ts';
import { type FleetShape, LIVES, saOf, spread, suiteNamed } from '../spokes/fleet.ts';
import { SpokesThread } from '../spokes/thread.ts';
import { DemoCluster } from './cluster.ts';
import { Display } from './display.ts';
import { Ledger } from './ledger.ts';

const SETTINGS = {
  spokes: { env: 'DEMO_SPOKES', help: 'spokes', fallback: '3000', parse: integer(1, 4_000_000) },
  kill: { env: 'DEMO_KILL', help: 'spokes to kill', fallback: '30', parse: integer(0, 1_000_000) },
  interval: { env: 'DEMO_INTERVAL', help: 'policy: interval, ms', fallback: '5000', parse: integer(1_000, 3_600_000) },
  retryInterval: {
    env: 'DEMO_RETRY_INTERVAL',
    help: 'policy: retry interval, ms',
    fallback: '1000',
    parse: integer(200, 60_000),
  },
  retries: { env: 'DEMO_RETRIES', help: 'policy: retries', fallback: '3', parse: integer(1, 20) },
  traffic: {
    env: 'DEMO_TRAFFIC',
    help: 'share of the spokes with traffic, percent',
    fallback: '20',
    parse: integer(0, 100),
  },
  calm: {
    env: 'DEMO_CALM',
    help: 'how long everyone lives before the first death, ms; 0: one and a half intervals',
    fallback: '0',
    parse: integer(0, 86_400_000),
  },
  suite: {
    env: 'DEMO_SUITE',
    help: 'cipher that all spokes speak, as OpenSSL names it, e.g. aes-256-gcm; mixed: every suite there is',
    fallback: 'mixed',
    parse: parseSuite,
  },
  nodes: { env: 'DEMO_NODES', help: 'nodes of the cluster', fallback: '1', parse: integer(1, 16) },
  killNode: {
    env: 'DEMO_KILL_NODE',
    help: 'kill a node while spokes die',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
  shards: {
    env: 'DEMO_SHARDS',
    help: 'shards, a power of two; 0: two, or four a node',
    fallback: '0',
    parse: integer(0, 256),
  },
  json: {
    env: 'DEMO_JSON',
    help: 'last line of stdout is one JSON object',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
} as const;

/** Deaths are spread over this share of the interval. */
const KILL_SPREAD = 0.8;
/** After the last verdict, one more detection time shows that no other follows; and no longer than this, ms. */
const SETTLE_LIMIT_MS = 20_000;
const REGISTER_MS = 300_000;
const SOCKETS = 128;

await runMain(async () => {
  const settings = readSettings('npm run demo -- [settings]: a node, a headend and spokes that die', SETTINGS);
  if (settings.kill > settings.spokes)
    throw new SettingsError(`--kill=${settings.kill}: must not be more than the ${settings.spokes} spokes`);
  if ((settings.shards & (settings.shards - 1)) !== 0)
    throw new SettingsError(`--shards=${settings.shards}: must be a power of two`);
  if (settings.killNode && settings.nodes < 2)
    throw new SettingsError(`--kill-node: needs --nodes of 2 or more, not ${settings.nodes}`);
  process.exitCode = await demo(settings);
});

async function demo(
  settings: { [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['parse']> },
): Promise<number> {
  const { spokes: count, kill, interval, retryInterval, retries, nodes } = settings;
  const shards = settings.shards || (nodes === 1 ? 2 : 2 ** Math.ceil(Math.log2(4 * nodes)));
  const started = performance.now();
  const detectionMs = interval + retries * retryInterval;
  const policy = create(PolicySchema, {
    mode: Mode.ON_IDLE,
    intervalMs: interval,
    retryIntervalMs: retryInterval,
    retries,
    jitterPercent: 10,
    unprovenMs: 0,
    action: Action.FAILOVER,
  });
  const display = new Display(settings.json ? process.stderr : process.stdout);
  const directory = mkdtempSync(join(tmpdir(), 'dpd-demo-'));
  let cluster: DemoCluster | undefined;
  let agent: Agent | undefined;
  let spokes: SpokesThread | undefined;
  try {
    display.say(`starting Redis and ${nodes === 1 ? 'a node' : `${nodes} nodes`}; making ${count} spokes`);
    cluster = await DemoCluster.start(directory, nodes, 2 * count);
    /** CPU time that nodes and spokes have used, us, and the probes they did for it. */
    const costs = async () => {
      const { cpuMicros, answered } = await thread.cost();
      const counters = total(await cluster!.counters());
      return {
        nodeMicros: cluster!.cpuSeconds() * 1e6,
        probes: counters.probesAnswered,
        spokesMicros: cpuMicros,
        answers: answered,
      };
    };
    const idleRss = cluster.rssBytes();
    const seed = `demo-${process.pid}`;
    const ledger = new Ledger(detectionMs);
    const { suite } = settings;
    const thread = await SpokesThread.start({ seed, count, sockets: SOCKETS, suite }, (spoke, lastAnswerUnix) =>
      ledger.killed(`spoke-${spoke}`, lastAnswerUnix),
    );
    spokes = thread;
    const fleet: FleetShape = { count, shards, seed, suite, sockets: thread.sockets };
    const spokeOf = (sa: Sa) => Number(sa.peerId.slice('spoke-'.length));
    const headend = new SimulatedHeadend(
      {
        sas: Array.from({ length: count }, (_, spoke) => saOf(fleet, spoke, 0, policy)),
        failOver(sa, endpoint) {
          thread.bring(spokeOf(sa), endpoint);
          return endpoint < LIVES ? saOf(fleet, spokeOf(sa), endpoint, policy) : undefined;
        },
      },
      { share: settings.traffic / 100, everyMs: interval / 3 },
      {
        verdict: (verdict, receivedUnix) => ledger.verdict(verdict, receivedUnix),
        failedOver: () => ledger.failovers++,
      },
    );
    agent = new Agent({ headend: 'demo-hub', shards, addresses: cluster.addresses }, headend, {
      channels: new NodeChannels(plaintext('')),
      log: createLogger('agent', 'warn'),
    });
    await headend.start(agent);
    const show = async (phase: string) => {
      // A node that was just killed does not answer any more.
      const counters = total(await cluster!.counters().catch(() => []));
      if (counters.peers > 0) display.update(phase, counters, ledger);
      return counters;
    };
    const settle = Date.now() + REGISTER_MS;
    const registering = performance.now();
    while (!agent.settled) {
      if (Date.now() > settle) throw new Error(`registration did not end within ${REGISTER_MS} ms`);
      await show('registering');
      await sleep(200);
    }
    const registeredUnix = Date.now();
    ledger.registered(registeredUnix);
    const watchFor = async (phase: string, ms: number, until: () => boolean = () => false) => {
      const end = performance.now() + ms;
      while (performance.now() < end && !until()) {
        await show(phase);
        await sleep(Math.min(500, Math.max(1, end - performance.now())));
      }
    };
    const registerMs = performance.now() - registering;
    // The first interval spreads the first probes; what follows is the steady state.
    await watchFor('everyone lives', interval);
    const before = await costs();
    await watchFor('everyone lives', settings.calm > 0 ? settings.calm : interval * 0.5);
    const after = await costs();
    const calmRss = cluster.rssBytes();
    const victims = spread(count, kill);
    const gap = (interval * KILL_SPREAD) / Math.max(1, kill);
    const killing = (async () => {
      const first = performance.now();
      for (const [n, spoke] of victims.entries()) {
        await sleep(Math.max(0, first + n * gap - performance.now()));
        headend.silence(saOf(fleet, spoke, 0, policy));
        ledger.expect(`spoke-${spoke}`, Date.now());
        thread.kill(spoke, 0);
      }
    })();
    const takeover = settings.killNode
      ? sleep((interval * KILL_SPREAD) / 2).then(() => cluster!.killOne())
      : Promise.resolve(undefined);
    await watchFor('killing', interval * KILL_SPREAD + 100);
    await killing;
    const takeoverMs = await takeover;
    await watchFor('waiting for verdicts', detectionMs + 5_000, () => ledger.complete);
    await watchFor('waiting for failovers', 2_000, () => ledger.failovers >= kill);
    await watchFor('looking for false verdicts', Math.min(detectionMs, SETTLE_LIMIT_MS));
    const counters = await show('done');
    const report = {
      spokes: count,
      ...ledger.report(),
      probes_sent: Number(counters.probesSent),
      probes_answered: Number(counters.probesAnswered),
      probes_suppressed: Number(counters.probesSuppressed),
      failovers: ledger.failovers,
      ...(takeoverMs !== undefined && { takeover_ms: Math.round(takeoverMs) }),
      register_s: round(registerMs / 1_000),
      // In the calm before the deaths.
      calm_probes: after.probes - before.probes,
      node_cpu_us_per_probe: round((after.nodeMicros - before.nodeMicros) / Math.max(1, after.probes - before.probes)),
      spokes_cpu_us_per_answer: round(
        (after.spokesMicros - before.spokesMicros) / Math.max(1, after.answers - before.answers),
      ),
      rss_bytes_per_spoke: Math.round((calmRss - idleRss) / count),
      node_cpu_s: cluster.cpuSeconds(),
      node_rss_bytes: cluster.rssBytes(),
      wall_s: Math.round(performance.now() - started) / 1_000,
    };
    display.summary(report);
    if (settings.json) process.stdout.write(`${JSON.stringify(report)}\n`);
    const good = report.false_verdicts === 0 && report.missed === 0 && report.failovers === report.expected;
    if (!good && cluster.log !== '') process.stderr.write(`\nThe nodes' log:\n${cluster.log}`);
    return good ? 0 : 1;
  } finally {
    await agent?.stop();
    await cluster?.stop();
    await spokes?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Index of the suite, or undefined for all of them. */
function parseSuite(name: string): number | undefined {
  if (name === 'mixed') return undefined;
  const suite = suiteNamed(name);
  if (suite >= 0) return suite;
  const names = [...new Set(SUITES.map(({ cipher }) => cipher))];
  throw new SettingsError(`must be mixed or one of ${names.join(', ')}`);
}
