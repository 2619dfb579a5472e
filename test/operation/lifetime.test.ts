import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { eventually } from '../eventually.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NODE = fileURLToPath(new URL('../../services/node/main.ts', import.meta.url));
/** A clean stop takes less, ms. */
const STOP_MS = 10_000;

type Running = {
  readonly child: ChildProcess;
  readonly address: string;
  readonly client: ApiClient;
  readonly log: () => string;
  /** Process id of its Redis. */
  readonly redis: () => number;
};

/** Starts a node, leader of a process group of its own, and waits until it serves. */
async function start(t: TestContext, command: readonly string[], env: Record<string, string> = {}): Promise<Running> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-life-'));
  const address = `unix:${join(directory, 'api.sock')}`;
  const child = spawn(command[0]!, command.slice(1), {
    cwd: ROOT,
    env: {
      ...process.env,
      DPD_ADDRESS: address,
      DPD_DATA_DIR: join(directory, 'data'),
      DPD_THREADS: '1',
      DPD_PROBE_PORT_BASE: '0',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let log = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (text: Buffer) => {
      log += text;
    });
  const client = new ApiClient(plaintext(address));
  t.after(() => {
    client.close();
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  const asked = () => client.unary(OperatorService.method.getClusterState, {}, 1_000);
  await eventually('it serves', 30_000, () => asked().then(Boolean, () => false));
  return {
    child,
    address,
    client,
    log: () => log,
    redis: () => Number(readFileSync(join(directory, 'data', 'redis.pid'), 'utf8')),
  };
}

const isThere = (pid: number) => existsSync(`/proc/${pid}/exe`);

/** Waits for a clean end: exit code 0 in time, and its Redis gone with it. */
async function ended({ child, log }: Running, redis: number): Promise<void> {
  const begun = performance.now();
  if (child.exitCode === null) await once(child, 'exit', { signal: AbortSignal.timeout(STOP_MS) });
  assert.equal(child.exitCode, 0, log());
  assert(performance.now() - begun < STOP_MS);
  await eventually('its Redis is gone', 2_000, () => !isThere(redis));
}

/** What a terminal or a supervisor does: to the program that it started, or to all of that one's group. */
const ENDINGS = [
  ['SIGTERM to npm alone', ['npm', 'start'], (pid: number) => process.kill(pid, 'SIGTERM')],
  ['Ctrl-C: SIGINT to npm and all its children', ['npm', 'start'], (pid: number) => process.kill(-pid, 'SIGINT')],
  [
    'SIGTERM to all of the group, the private Redis’s too',
    [process.execPath, NODE],
    (pid: number) => process.kill(-pid, 'SIGTERM'),
  ],
] as const;

for (const [name, command, end] of ENDINGS)
  test(`a clean stop by ${name}: no orphan is left`, async (t) => {
    const running = await start(t, command);
    const redis = running.redis();
    assert(isThere(redis));
    end(running.child.pid!);
    // npm says how its child ended by an exit code of its own.
    if (command[0] === 'npm') {
      await once(running.child, 'exit', { signal: AbortSignal.timeout(STOP_MS) });
      await eventually('its Redis is gone', 5_000, () => !isThere(redis));
      assert.match(running.log(), /"stopping"/);
    } else await ended(running, redis);
  });

test('SIGHUP ends nothing', async (t) => {
  const running = await start(t, [process.execPath, NODE]);
  running.child.kill('SIGHUP');
  await running.client.unary(OperatorService.method.getClusterState, {}, 5_000);
  const redis = running.redis();
  running.child.kill('SIGTERM');
  await ended(running, redis);
});

test('a private Redis that is killed is started again, with all that it had', async (t) => {
  const running = await start(t, [process.execPath, NODE]);
  const before = running.redis();
  process.kill(before, 'SIGKILL');
  await eventually('another one', 10_000, () => running.redis() !== before && isThere(running.redis()));
  const state = () => running.client.unary(OperatorService.method.getClusterState, {}, 2_000).catch(() => undefined);
  await eventually('it is used', 15_000, async () => (await state())?.redisConnected === true);
  assert.match(running.log(), /the private Redis ended: started again/);
  const redis = running.redis();
  running.child.kill('SIGTERM');
  await ended(running, redis);
});

test('health says what would be refused: without Redis all but the operator’s calls', async (t) => {
  const running = await start(t, [process.execPath, NODE]);
  const health = async (service: string): Promise<string> => {
    const raw = (bytes: Buffer) => bytes;
    const client = new Client(running.address, credentials.createInsecure());
    const name = Buffer.from(service);
    const request = service === '' ? Buffer.alloc(0) : Buffer.concat([Buffer.of(0x0a, name.length), name]);
    try {
      return await new Promise((resolve, reject) =>
        client.makeUnaryRequest('/grpc.health.v1.Health/Check', raw, raw, request, (error, response) =>
          error ? reject(error) : resolve(response![1] === 1 ? 'SERVING' : 'NOT_SERVING'),
        ),
      );
    } finally {
      client.close();
    }
  };
  const all = async () =>
    Promise.all(['', 'dpd.v1.HeadendService', 'dpd.v1.VerdictService', 'dpd.v1.OperatorService'].map(health));
  assert.deepEqual(await all(), ['SERVING', 'SERVING', 'SERVING', 'SERVING']);
  const redis = running.redis();
  process.kill(redis, 'SIGSTOP');
  try {
    await eventually('Redis is missed', 25_000, async () => (await all()).includes('NOT_SERVING'));
    assert.deepEqual(await all(), ['SERVING', 'NOT_SERVING', 'NOT_SERVING', 'SERVING']);
  } finally {
    process.kill(redis, 'SIGCONT');
  }
  await eventually('Redis is back', 15_000, async () => !(await all()).includes('NOT_SERVING'));
  running.child.kill('SIGTERM');
  await ended(running, redis);
});

test('a collector that hangs does not hold up a stop', async (t) => {
  const collector = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  t.after(() => collector.close());
  const { port } = collector.address() as { port: number };
  const running = await start(t, [process.execPath, NODE], { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` });
  const redis = running.redis();
  const begun = performance.now();
  running.child.kill('SIGTERM');
  await ended(running, redis);
  assert(performance.now() - begun < 5_000, 'it waited for the collector');
});

test('what cannot be used at the start is one line with the setting and its value, and exit code 2', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-start-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, 'file');
  writeFileSync(file, 'no key, no folder, no certificate', { mode: 0o600 });
  const open = join(directory, 'open');
  writeFileSync(open, randomBytes(32).toString('base64'), { mode: 0o644 });
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const { port } = taken.address() as { port: number };
  const cases: [string[], RegExp][] = [
    [['--data-dir', file], /^data-dir \S*\/file: EEXIST$/],
    [['--data-dir', join(file, 'x')], /^data-dir \S*\/file\/x: ENOTDIR$/],
    [['--address', `127.0.0.1:${port}`], /^address 127\.0\.0\.1:\d+: listen EADDRINUSE: .*$/],
    [['--address', '127.0.0.1:99999'], /^address 127\.0\.0\.1:99999: .*65536.*$/],
    [
      ['--redis-url', 'redis://user:secret@127.0.0.1:1'],
      /^redis-url redis:\/\/127\.0\.0\.1:1: connect ECONNREFUSED 127\.0\.0\.1:1$/,
    ],
    [['--vault-key-file', file], /^vault-key-file \S*\/file: must be 32 bytes in base64.*$/],
    [['--tls-cert', file, '--tls-key', file, '--tls-ca', file], /^tls-ca \S*\/file: ERR_OSSL_PEM_NO_START_LINE$/],
    [['--access', file], /^access: in plaintext nobody has a name; .*$/],
    [['--vault-key-file', open], /^vault-key-file \S*\/open: its mode is 644, and others can read it; chmod 600$/],
    [['--vault-key', 'x'], /^Unknown option '--vault-key'; --help lists the settings$/],
    [['--threads', '1000'], /^--threads=1000: must be a whole number from 0 to 256$/],
  ];
  const refused = async ([flags, line]: (typeof cases)[number], n: number) => {
    const data = join(directory, `data-${n}`);
    const args = ['--data-dir', data, '--address', `unix:${join(directory, 'api.sock')}`, ...flags];
    const child = spawn(process.execPath, [NODE, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (part: Buffer) => {
      text += part;
    });
    const [code] = await once(child, 'close', { signal: AbortSignal.timeout(60_000) });
    assert.match(text.trim(), line);
    assert.equal(code, 2, text);
  };
  await Promise.all(cases.map(refused));
});
