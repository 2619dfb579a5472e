import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { freePort } from '../../loadtest/free-port.ts';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { VERSION } from '../../services/base/version.ts';
import { NODE_SETTINGS } from '../../services/node/settings.ts';
import { eventually } from '../eventually.ts';
import { skipUnless } from '../requirements.ts';
import { pack, ROOT, run } from './run.ts';
import { samplesOf, scrape } from './scraped.ts';

const COMPOSE = join(ROOT, 'deploy/compose.yaml');
const NODE = join(ROOT, 'services/node/main.ts');
const PASSWORD = 'a-password-of-the-test';
const NODES = ['node-1', 'node-2', 'node-3'];

type Service = {
  readonly image: string;
  readonly command?: string | readonly string[];
  readonly entrypoint?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly network_mode: string;
  readonly stop_grace_period?: string;
};
type Compose = {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
};

/** compose.yaml as compose reads it: variables filled in, then parsed with its merges. @param text changed before */
function readCompose(text: string): Compose {
  const variables: Record<string, string> = { REDIS_PASSWORD: PASSWORD, HOST_ADDRESS: '127.0.0.1' };
  const filled = text.replaceAll(/\$\$|\$\{(\w+)(?::\?[^}]*)?\}/g, (all, name?: string) => {
    if (all === '$$') return '$';
    assert(variables[name!] !== undefined, `compose.yaml uses ${name}, which nothing tells to set`);
    return variables[name!]!;
  });
  return parse(filled, { merge: true }) as Compose;
}

test('compose: settings, files and ports are what there is, and each port is one service’s', () => {
  const { services, volumes } = readCompose(readFileSync(COMPOSE, 'utf8'));
  const known = new Set<string>(Object.values(NODE_SETTINGS).map(({ env }) => env));
  const ports: string[] = [];
  for (const [name, service] of Object.entries(services)) {
    assert.equal(service.network_mode, 'host', name);
    for (const volume of service.volumes ?? []) {
      const [source] = volume.split(':') as [string];
      if (source.startsWith('./'))
        assert(source === './certificates' || existsSync(join(ROOT, 'deploy', source)), `${name}: ${source}`);
      else assert(source in volumes, `${name}: volume ${source}`);
    }
    if (!NODES.includes(name)) continue;
    for (const variable of Object.keys(service.environment!))
      assert(known.has(variable) || variable.startsWith('OTEL_'), `${name}: no such setting: ${variable}`);
    const { DPD_ADDRESS, DPD_METRICS_ADDRESS, DPD_PROBE_PORT_BASE, DPD_NODE_ID } = service.environment!;
    assert.equal(DPD_NODE_ID, name);
    ports.push(DPD_ADDRESS!.split(':')[1]!, DPD_METRICS_ADDRESS!.split(':')[1]!, DPD_PROBE_PORT_BASE!);
    assert(Number.parseInt(service.stop_grace_period!, 10) * 1_000 > Number(NODE_SETTINGS.drain.fallback) + 5_000);
  }
  assert.equal(new Set(ports).size, 9);
  const scraped = readFileSync(join(ROOT, 'deploy/prometheus/prometheus.yaml'), 'utf8');
  for (const name of NODES) assert(scraped.includes(services[name]!.environment!['DPD_METRICS_ADDRESS']!), name);
});

const skipCompose = skipUnless(
  { 'redis-server': ['/usr/bin/redis-server'], openssl: ['/usr/bin/openssl'] },
  { root: false },
);
describe('what compose starts, started here without containers', { skip: skipCompose, timeout: 120_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-compose-'));
  const certificates = join(directory, 'certificates');
  const running = new Map<string, ChildProcess>();
  const logs = new Map<string, string>();
  let services: Compose['services'];

  const here = (text: string, name: string) =>
    text.replaceAll('/data', join(directory, name)).replaceAll('/certificates', certificates);
  const start = (name: string, command: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    mkdirSync(join(directory, name), { recursive: true });
    const filled = Object.entries(env).map(([variable, value]) => [variable, here(value, name)]);
    const child = spawn(
      command[0]!,
      command.slice(1).map((part) => here(part, name)),
      {
        env: { PATH: process.env['PATH'], ...Object.fromEntries(filled) },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => logs.set(name, (logs.get(name) ?? '') + text));
    running.set(name, child);
  };
  const metricsOf = (name: string) => `http://${services[name]!.environment!['DPD_METRICS_ADDRESS']}`;
  const metric = async (name: string, of: string) =>
    samplesOf(await scrape(metricsOf(of))).find((sample) => sample.name === name)?.value;
  const ready = async (name: string) => {
    if (running.get(name)!.exitCode !== null) throw new Error(logs.get(name));
    return (await fetch(`${metricsOf(name)}/readyz`).catch(() => undefined))?.status === 200;
  };

  before(async () => {
    // Its ports may be in use here.
    let text = readFileSync(COMPOSE, 'utf8');
    for (const port of ['26379', '26380', '26381', '6379', '6380', '7601', '7602', '7603', '9471', '9472', '9473'])
      text = text.replaceAll(new RegExp(`\\b${port}\\b`, 'g'), String(await freePort()));
    ({ services } = readCompose(text));
    const processes = [...NODES.map((name) => `node/${name}`), 'headend/hub-1', 'operator/read/noc'];
    run('sh', [join(ROOT, 'deploy/make-certificates.sh'), certificates, 'example.org', ...processes]);
    for (const [name, { image, command, entrypoint = [], environment = {} }] of Object.entries(services)) {
      if (image.startsWith('redis:'))
        start(name, [...entrypoint, ...(typeof command === 'string' ? command.split(' ') : command!)], environment);
      else if (NODES.includes(name)) continue;
    }
    for (const name of NODES)
      start(name, [process.execPath, NODE], {
        ...services[name]!.environment!,
        DPD_PROBE_PORT_BASE: '0',
        DPD_THREADS: '1',
      });
    for (const name of NODES) await eventually(`${name} is ready`, 40_000, () => ready(name));
  });
  after(async () => {
    for (const child of running.values()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmSync(directory, { recursive: true, force: true });
  });

  test('three nodes know each other, and tell an operator with a certificate', async () => {
    for (const name of NODES)
      await eventually(`${name} knows three`, 10_000, async () => (await metric('dpd_members', name)) === 3);
    const file = (suffix: string) => join(certificates, suffix);
    const client = new ApiClient({
      address: `localhost:${services['node-2']!.environment!['DPD_ADDRESS']!.split(':')[1]}`,
      tlsCert: file('noc.pem'),
      tlsKey: file('noc.key'),
      tlsCa: file('ca.pem'),
      tlsCrl: undefined,
      tlsMin: '1.3',
      trustDomain: undefined,
      allowPlaintext: false,
    });
    try {
      const { members } = await client.unary(OperatorService.method.getClusterState, {}, 5_000);
      assert.deepEqual(members.map(({ id }) => id).sort(), NODES);
    } finally {
      client.close();
    }
  });

  test('the master of Redis dies: Sentinels promote the replica, and the nodes go on', async () => {
    running.get('redis-1')!.kill('SIGKILL');
    await eventually(
      'nodes miss Redis',
      10_000,
      async () => (await metric('dpd_redis_silence_seconds', 'node-1'))! > 1.5,
    );
    await eventually('nodes have Redis again', 40_000, async () => {
      const silences = await Promise.all(NODES.map((name) => metric('dpd_redis_silence_seconds', name)));
      return silences.every((silence) => silence! < 1.5);
    });
    for (const name of NODES) await eventually(`${name} is ready`, 10_000, () => ready(name));
  });

  test('a node that is stopped drains, ends with 0, and the others know', async () => {
    const child = running.get('node-1')!;
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit', { signal: AbortSignal.timeout(20_000) });
    assert.equal(child.exitCode, 0, logs.get('node-1') ?? '');
    await eventually('two are left', 10_000, async () => (await metric('dpd_members', 'node-2')) === 2);
  });
});

const skipImage = skipUnless({ coreutils: ['/usr/sbin/chroot'] }, { root: true });
test('the image’s file system: no shell, not root, and its Node runs in it', {
  skip: skipImage,
  timeout: 120_000,
}, (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-image-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const root = join(directory, 'root');
  run('sh', [join(ROOT, 'deploy/container/make-root.sh'), pack(directory).tarball, root]);
  for (const name of ['bin/sh', 'usr/bin/npm', 'usr/bin/env']) assert(!existsSync(join(root, name)), name);
  assert.deepEqual(readdirSync(join(root, 'usr/bin')), ['node']);
  const dockerfile = readFileSync(join(ROOT, 'deploy/container/Dockerfile'), 'utf8');
  const list = (word: string): string[] => JSON.parse(new RegExp(`^${word} (\\[.*\\])$`, 'm').exec(dockerfile)![1]!);
  const [, user] = /^USER (\S+)$/m.exec(dockerfile)!;
  assert.equal(user, '65532:65532');
  const inside = (command: readonly string[]) =>
    run('/usr/sbin/chroot', [`--userspec=${user}`, root, ...command], { env: {} });
  assert.match(inside([...list('ENTRYPOINT'), ...list('CMD'), '--version']), new RegExp(`^dpd-offload ${VERSION}, `));
  const [, health] = /^ {2}CMD (\[.*\])$/m.exec(dockerfile)!;
  assert.throws(() => inside(JSON.parse(health!) as string[]), 'nothing answers, so it is not healthy');
  assert(statSync(join(root, 'app/node_modules/dpd-offload/deploy/container/health.js')).size > 0);
});
