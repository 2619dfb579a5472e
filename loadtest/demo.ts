/**
 * `npm run demo`: the main job, visible. A node with its Redis, a simulated headend, and thousands of simulated spokes
 * that speak real encrypted IKEv2 over loopback; some die, and each of those deaths must become one verdict.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { OperatorService, type ShardCounters } from '../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode, type Sa } from '../proto/gen/dpd/v1/types_pb.js';
import { Agent } from '../services/agent/agent.ts';
import { NodeChannels } from '../services/agent/channels.ts';
import { SimulatedDataPlane } from '../services/agent/simulated.ts';
import { ApiClient } from '../services/grpc/client.ts';
import { plaintext } from '../services/grpc/credentials.ts';
import { createLogger } from '../services/log.ts';
import { flag, integer, readSettings, runMain, SettingsError } from '../services/settings.ts';
import { Display } from './demo-display.ts';
import { Ledger } from './demo-ledger.ts';
import { NodeProcess } from './node-process.ts';
import { type FleetShape, LIVES, saOf } from './spokes/fleet.ts';
import type { FromSpokes, ToSpokes } from './spokes/protocol.ts';

const SETTINGS = {
  spokes: { env: 'DEMO_SPOKES', help: 'spokes', fallback: '3000', parse: integer(1, 1_000_000) },
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
  shards: { env: 'DEMO_SHARDS', help: 'shards, a power of two', fallback: '2', parse: integer(1, 256) },
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
  process.exitCode = await demo(settings);
});

async function demo(
  settings: { [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['parse']> },
): Promise<number> {
  const { spokes: count, kill, interval, retryInterval, retries, shards } = settings;
  const started = performance.now();
  const detectionMs = interval + retries * retryInterval;
  const policy = {
    $typeName: 'dpd.v1.Policy' as const,
    mode: Mode.ON_IDLE,
    intervalMs: interval,
    retryIntervalMs: retryInterval,
    retries,
    jitterPercent: 10,
    action: Action.FAILOVER,
  };
  const display = new Display(settings.json ? process.stderr : process.stdout);
  const directory = mkdtempSync(join(tmpdir(), 'dpd-demo-'));
  const worker = new Worker(new URL('./spokes/worker.ts', import.meta.url));
  let node: NodeProcess | undefined;
  let agent: Agent | undefined;
  let client: ApiClient | undefined;
  try {
    display.say(`starting Redis and a node; making ${count} spokes`);
    const address = `unix:${join(directory, 'api.sock')}`;
    const transport = plaintext(address);
    [node] = await Promise.all([
      NodeProcess.start(address, {
        DPD_DATA_DIR: join(directory, 'data'),
        DPD_NODE_ID: 'demo',
        DPD_PROBE_ADDRESS: '127.0.0.1',
        DPD_PROBE_PORT_BASE: '0',
        LOG_LEVEL: 'warn',
      }),
    ]);
    const tell = (message: ToSpokes) => worker.postMessage(message);
    const seed = `demo-${process.pid}`;
    const sockets = new Promise<FleetShape['sockets']>((resolve) =>
      worker.on('message', (message: FromSpokes) => {
        if (message.type === 'ready') resolve(message.sockets);
        else ledger.killed(`spoke-${message.spoke}`, message.lastAnswerUnix);
      }),
    );
    tell({ type: 'start', seed, count, sockets: SOCKETS });
    const fleet: FleetShape = { count, shards, seed, sockets: await sockets };
    const ledger = new Ledger(detectionMs);
    const spokeOf = (sa: Sa) => Number(sa.peerId.slice('spoke-'.length));
    const dataPlane = new SimulatedDataPlane(
      {
        sas: Array.from({ length: count }, (_, spoke) => saOf(fleet, spoke, 0, policy)),
        failOver(sa, endpoint) {
          tell({ type: 'bring', spoke: spokeOf(sa), life: endpoint });
          return endpoint < LIVES ? saOf(fleet, spokeOf(sa), endpoint, policy) : undefined;
        },
      },
      { share: settings.traffic / 100, everyMs: 1_000 },
      {
        verdict: (verdict, receivedUnix) => ledger.verdict(verdict, receivedUnix),
        failedOver: () => ledger.failovers++,
      },
    );
    agent = new Agent({ headend: 'demo-hub', shards, addresses: [address] }, dataPlane, {
      channels: new NodeChannels(transport),
      log: createLogger('agent', 'warn'),
    });
    await dataPlane.start(agent);
    client = new ApiClient(transport);
    const show = async (phase: string) => {
      const { shards: counters } = await client!.unary(OperatorService.method.getCounters, {});
      display.update(phase, total(counters), ledger);
      return total(counters);
    };
    const settle = Date.now() + REGISTER_MS;
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
    await watchFor('everyone lives', interval * 1.5);
    const victims = pick(count, kill);
    const gap = (interval * KILL_SPREAD) / Math.max(1, kill);
    const killing = (async () => {
      const first = performance.now();
      for (const [n, spoke] of victims.entries()) {
        await sleep(Math.max(0, first + n * gap - performance.now()));
        dataPlane.silence(saOf(fleet, spoke, 0, policy));
        ledger.expect(`spoke-${spoke}`, Date.now());
        tell({ type: 'kill', spoke, life: 0 });
      }
    })();
    await watchFor('killing', interval * KILL_SPREAD + 100);
    await killing;
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
      node_cpu_s: node.cpuSeconds(),
      node_rss_bytes: node.rssBytes(),
      wall_s: Math.round(performance.now() - started) / 1_000,
    };
    display.summary(report);
    if (settings.json) process.stdout.write(`${JSON.stringify(report)}\n`);
    const good = report.false_verdicts === 0 && report.missed === 0 && report.failovers === report.expected;
    if (!good && node.log !== '') process.stderr.write(`\nThe node's log:\n${node.log}`);
    return good ? 0 : 1;
  } finally {
    await agent?.stop();
    client?.close();
    await node?.stop();
    await worker.terminate();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** `kill` different spokes, spread evenly over the fleet. */
function pick(count: number, kill: number): number[] {
  return Array.from({ length: kill }, (_, n) => Math.floor((n * count) / kill));
}

/** Sums of the shards' counters. */
function total(shards: readonly ShardCounters[]) {
  const sum = (read: (shard: ShardCounters) => number | bigint) =>
    shards.reduce((all, shard) => all + Number(read(shard)), 0);
  return {
    peers: sum((shard) => shard.peers),
    alive: sum((shard) => shard.alive),
    probing: sum((shard) => shard.probing),
    blocked: sum((shard) => shard.blocked),
    dead: sum((shard) => shard.dead),
    probesSent: sum((shard) => shard.probesSent),
    probesAnswered: sum((shard) => shard.probesAnswered),
    probesSuppressed: sum((shard) => shard.probesSuppressed),
    verdicts: sum((shard) => shard.verdicts),
  };
}

export type Totals = ReturnType<typeof total>;
