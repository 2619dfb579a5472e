import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort } from '../../loadtest/free-port.ts';
import { VERSION } from '../../services/base/version.ts';
import { EmbeddedRedis } from '../../services/store/redis/embedded-redis.ts';
import { eventually } from '../eventually.ts';
import { skipUnless } from '../requirements.ts';
import { BARE, pack, ROOT, run } from './run.ts';
import { samplesOf, scrape } from './scraped.ts';

const PROGRAMS = ['dpd-agent', 'dpd-failover', 'dpd-node'];

describe('the npm package', { timeout: 240_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-package-'));
  const installed = join(directory, 'empty');
  const bin = join(installed, 'node_modules/.bin');
  let files: readonly string[] = [];

  before(() => {
    const packed = pack(directory);
    files = packed.files;
    mkdirSync(installed);
    writeFileSync(join(installed, 'package.json'), '{ "name": "empty", "version": "1.0.0" }');
    run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', packed.tarball], { cwd: installed });
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  test('it has what runs, and nothing that Node would have to strip types from', () => {
    for (const file of [
      'dist/services/node/main.js',
      'dist/services/store/scripts/shard/append-verdicts.lua',
      'LICENSE',
    ])
      assert(files.includes(file), `${file} is missing`);
    assert.deepEqual(
      files.filter((file) => /\.ts$|^(test|loadtest|scripts|node_modules)\//.test(file)),
      [],
    );
    assert.deepEqual(
      readdirSync(bin)
        .filter((name) => name.startsWith('dpd'))
        .filter((name) => PROGRAMS.includes(name)),
      PROGRAMS,
    );
  });

  for (const program of PROGRAMS)
    test(`${program} says its version, its settings, and what it cannot use`, () => {
      const path = join(bin, program);
      assert.match(run(path, ['--version'], { env: BARE }), new RegExp(`^dpd-offload ${VERSION}, Node v26\\.`));
      assert.match(run(path, ['--help'], { env: BARE }), new RegExp(`^${program} \\[settings\\]`));
      const refused = spawnSync(path, ['--nonsense'], { encoding: 'utf8', env: BARE });
      assert.deepEqual([refused.status, refused.stderr.trim().split('\n').length], [2, 1], refused.stderr);
    });

  test('they work together, each the process that was started', { timeout: 90_000 }, async (t) => {
    const redis = await EmbeddedRedis.start(join(directory, 'redis'));
    const children: ChildProcess[] = [];
    t.after(async () => {
      for (const child of children) child.kill('SIGKILL');
      await redis.stop();
    });
    const start = async (program: string, env: Record<string, string>, args: readonly string[] = []) => {
      const port = await freePort();
      const child = spawn(join(bin, program), args, {
        cwd: directory,
        env: { ...BARE, REDIS_URL: redis.url, DPD_METRICS_ADDRESS: `127.0.0.1:${port}`, ...env },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      children.push(child);
      let log = '';
      child.stderr!.on('data', (text: Buffer) => {
        log += text;
      });
      const url = `http://127.0.0.1:${port}`;
      await eventually(`${program} is ready`, 30_000, async () => {
        if (child.exitCode !== null) throw new Error(log);
        return (await fetch(`${url}/readyz`).catch(() => undefined))?.status === 200;
      });
      // The shell that found Node has become it.
      assert.match(readlinkSync(`/proc/${child.pid}/exe`), /node_modules\/node-linux-[^/]+\/bin\/node$/);
      return { child, url, log: () => log };
    };
    const address = `127.0.0.1:${await freePort()}`;
    const vaultKey = randomBytes(32).toString('base64');
    const node = await start('dpd-node', {
      DPD_ADDRESS: address,
      DPD_VAULT_KEY: vaultKey,
      DPD_THREADS: '1',
      DPD_PROBE_PORT_BASE: '0',
      DPD_FAILOVER: 'elsewhere',
    });
    const failover = await start('dpd-failover', { DPD_VAULT_KEY: vaultKey });
    // There is no charon here; the agent goes on trying, and its shards are with the node meanwhile.
    const agent = await start('dpd-agent', {
      DPD_ADDRESS: address,
      DPD_HEADEND: 'hub-1',
      DPD_VICI_SOCKET: join(directory, 'no-charon.vici'),
      DPD_MANAGE_RULES: 'false',
      DPD_LINGER_MS: '0',
    });
    const streams = samplesOf(await scrape(node.url)).filter(({ name }) => name === 'dpd_streams');
    assert.deepEqual(
      streams.map(({ labels, value }) => [labels['dpd_headend'], value]),
      [
        ['hub-1', 1],
        ['hub-1', 1],
      ],
    );
    for (const { child, log } of [agent, failover, node]) {
      child.kill('SIGTERM');
      if (child.exitCode === null && child.signalCode === null)
        await once(child, 'exit', { signal: AbortSignal.timeout(20_000) });
      // An agent that has not found its charon yet has nothing to give back.
      assert(child.exitCode === 0 || (child === agent.child && child.signalCode === 'SIGTERM'), log());
    }
  });

  test('without its own Node it says so, and which one is too old', () => {
    const elsewhere = join(directory, 'without-node');
    for (const part of ['bin', 'dist'])
      cpSync(join(installed, 'node_modules/dpd-offload', part), join(elsewhere, part), { recursive: true });
    const old = join(directory, 'old');
    mkdirSync(old);
    writeFileSync(join(old, 'node'), '#!/bin/sh\necho v20.19.2\n');
    chmodSync(join(old, 'node'), 0o755);
    const { status, stderr } = spawnSync(join(elsewhere, 'bin/dpd-node'), [], {
      encoding: 'utf8',
      env: { PATH: `${old}:/usr/sbin:/bin` },
    });
    assert.match(
      stderr,
      /^dpd-offload: needs Node 26 or later, and has none of its own; \S+old\/node is v20\.19\.2: [^\n]+\n$/,
    );
    assert.equal(status, 2);
  });
});

const skip = skipUnless({ dpkg: ['/usr/bin/dpkg', '/usr/bin/dpkg-deb'] }, { root: true });
test('the Debian package is installed, runs, and leaves nothing when it is removed', {
  skip,
  timeout: 240_000,
}, (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-deb-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const deb = run('sh', ['scripts/build-deb.sh', directory], { cwd: ROOT }).trim();
  // A root of its own: nothing of this machine changes.
  const root = join(directory, 'root');
  for (const folder of ['updates', 'info', 'triggers'])
    mkdirSync(join(root, 'var/lib/dpkg', folder), { recursive: true });
  for (const file of ['status', 'available']) writeFileSync(join(root, 'var/lib/dpkg', file), '');
  const dpkg = (...args: string[]) =>
    run('dpkg', [`--root=${root}`, '--force-script-chrootless', '--force-depends', ...args]);
  dpkg('--install', deb);
  for (const program of PROGRAMS) {
    assert.match(
      run(join(root, 'usr/bin', program), ['--version'], { env: BARE }),
      new RegExp(`^dpd-offload ${VERSION}, `),
    );
    const unit = readFileSync(join(root, `usr/lib/systemd/system/${program}.service`), 'utf8');
    assert(unit.includes(`ExecStart=/usr/bin/${program}`));
  }
  assert(existsSync(join(root, 'usr/share/doc/dpd-offload/README.md')));
  dpkg('--purge', 'dpd-offload');
  for (const path of ['usr/lib/dpd-offload', 'usr/bin/dpd-node', 'etc/dpd-offload'])
    assert(!existsSync(join(root, path)), `${path} is left`);
});
