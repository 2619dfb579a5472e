/**
 * `npm run greedy`: verdicts of one headend, first undisturbed, then while the holder of another headend's certificate does what it can.
 * Both are on this machine: the attacker runs at the lowest priority, so that what is measured is the node, and not the lack of a core.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode, PolicySchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { Agent } from '../../services/agent/agent.ts';
import { NodeChannels } from '../../services/agent/channels.ts';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { createLogger } from '../../services/base/log.ts';
import { flag, integer, readSettings, runMain } from '../../services/base/settings.ts';
import { Pki } from '../../test/security/pki.ts';
import { Ledger } from '../demo/ledger.ts';
import { SimulatedHeadend } from '../headend/simulated.ts';
import { npmScript } from '../npm-script.ts';
import { type FleetShape, saOf, spread } from '../spokes/fleet.ts';
import { SpokesThread } from '../spokes/thread.ts';

const SETTINGS = {
  spokes: { env: 'GREEDY_SPOKES', help: 'spokes of the honest headend', fallback: '2000', parse: integer(2, 100_000) },
  kill: { env: 'GREEDY_KILL', help: 'of which so many die in each part', fallback: '200', parse: integer(1, 10_000) },
  json: { env: 'GREEDY_JSON', help: 'only one JSON object', fallback: 'false', boolean: true, parse: flag },
} as const;

const POLICY = create(PolicySchema, {
  mode: Mode.ON_IDLE,
  intervalMs: 3_000,
  retryIntervalMs: 500,
  retries: 4,
  jitterPercent: 10,
  action: Action.CLEAR,
});
const DETECTION_MS = POLICY.intervalMs + POLICY.retries * POLICY.retryIntervalMs;
const SHARDS = 2;
const ADDRESS = '127.0.0.1:17643';
/** Time between two deaths, ms; before the first, and behind the last. */
const KILL_EVERY_MS = 25;
const CALM_MS = 3_000;
const PATIENCE_MS = 20_000;
const LOWEST_PRIORITY = ['nice', '-n', '19'] as const;

await runMain(async () => {
  const settings = readSettings('npm run greedy -- [settings]: what one bad headend does to others', SETTINGS);
  const pki = new Pki();
  pki.certificate('node', 'URI:spiffe://lab.example/node/node-1');
  for (const name of ['honest', 'greedy']) pki.certificate(name, `URI:spiffe://lab.example/headend/${name}`);
  pki.certificate('ann', 'URI:spiffe://lab.example/operator/read/ann');
  const node = startNode(pki);
  try {
    const report = await measure(settings, pki);
    process.stdout.write(settings.json ? `${JSON.stringify(report)}\n` : `${JSON.stringify(report, undefined, 2)}\n`);
    process.exitCode = [report.calm, report.attacked].every((part) => part.false_verdicts + part.missed === 0) ? 0 : 1;
  } finally {
    await end(node);
    pki.remove();
  }
  // The spokes' sockets would keep the process.
  process.exit();
});

function startNode(pki: Pki): ChildProcess {
  const start = npmScript('start');
  return spawn(process.execPath, start.args, {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    env: {
      ...process.env,
      ...start.env,
      DPD_ADDRESS: ADDRESS,
      DPD_DATA_DIR: pki.path('data'),
      DPD_TLS_CERT: pki.path('node.pem'),
      DPD_TLS_KEY: pki.path('node.key'),
      DPD_TLS_CA: pki.path('ca.pem'),
      DPD_PROBE_ADDRESS: '127.0.0.1',
      DPD_PROBE_PORT_BASE: '0',
      DPD_STORM_SHARE: '0',
      LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

async function measure({ spokes: count, kill }: { spokes: number; kill: number }, pki: Pki) {
  const client = new ApiClient(pki.transport('ann', ADDRESS));
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
    const up = await client.unary(OperatorService.method.getClusterState, {}, 1_000).catch(() => undefined);
    if (up) break;
    if (Date.now() > deadline) throw new Error('the node does not answer');
  }
  let ledger = new Ledger(DETECTION_MS);
  const spokes = await SpokesThread.start({ seed: 'greedy', count, sockets: 16 }, (spoke, lastAnswerUnix) =>
    ledger.killed(`spoke-${spoke}`, lastAnswerUnix),
  );
  const fleet: FleetShape = { count, shards: SHARDS, seed: 'greedy', sockets: spokes.sockets };
  const headend = new SimulatedHeadend(
    { sas: Array.from({ length: count }, (_, spoke) => saOf(fleet, spoke, 0, POLICY)), failOver: () => undefined },
    { share: 0, everyMs: 1_000 },
    { verdict: (verdict) => ledger.verdict(verdict, Date.now()) },
  );
  const channels = new NodeChannels(pki.transport('honest', ''));
  const log = createLogger('greedy', 'silent');
  const agent = new Agent({ headend: 'honest', shards: SHARDS, addresses: [ADDRESS] }, headend, { channels, log });
  await headend.start(agent);
  while (!agent.settled) await sleep(50);
  const victims = spread(count, 2 * kill);
  /** Has some of them die, one after the other; returns how late they were found. */
  const part = async (dying: readonly number[]) => {
    ledger = new Ledger(DETECTION_MS);
    ledger.registered(0);
    await sleep(CALM_MS + POLICY.intervalMs);
    for (const spoke of dying) {
      ledger.expect(`spoke-${spoke}`, Date.now());
      spokes.kill(spoke, 0);
      await sleep(KILL_EVERY_MS);
    }
    for (const end = Date.now() + DETECTION_MS + PATIENCE_MS; !ledger.complete && Date.now() < end; ) await sleep(50);
    return ledger.report();
  };
  const calm = await part(victims.filter((_, n) => n % 2 === 0));
  const [program, ...flags] = LOWEST_PRIORITY;
  const attacker = spawn(
    program,
    [
      ...flags,
      process.execPath,
      fileURLToPath(new URL('./attacker.ts', import.meta.url)),
      JSON.stringify(pki.transport('greedy', ADDRESS)),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let attack = '';
  attacker.stdout.on('data', (text) => {
    attack += text;
  });
  const attacked = await part(victims.filter((_, n) => n % 2 === 1));
  await end(attacker);
  await agent.stop();
  await spokes.stop();
  client.close();
  const slower = (attacked.lateness_ms.p99 - calm.lateness_ms.p99) / DETECTION_MS;
  return {
    calm,
    attacked,
    attack: JSON.parse(attack || '{}') as unknown,
    /** How much later the latest are found, of the time that it takes to find a death, percent. */
    slower_percent: Math.round(1_000 * slower) / 10,
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  await gone;
  clearTimeout(force);
}
