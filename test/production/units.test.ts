import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../loadtest/free-port.ts';
import { HEADENDS } from '../../services/agent/headend/kinds.ts';
import { AGENT_SETTINGS } from '../../services/agent/settings.ts';
import { FAILOVER_WORKER_SETTINGS } from '../../services/failover/settings.ts';
import { NODE_SETTINGS } from '../../services/node/settings.ts';
import { eventually } from '../eventually.ts';
import { skipUnless } from '../requirements.ts';

const UNITS = fileURLToPath(new URL('../../deploy/systemd/', import.meta.url));
const NODE = fileURLToPath(new URL('../../services/node/main.ts', import.meta.url));
/** What `systemd-analyze security` may find at most, of 10. */
const MOST_EXPOSED = 3;
const skip = skipUnless({ systemd: ['/usr/bin/systemd-analyze'] }, { root: false });
const names = readdirSync(UNITS).filter((name) => name.endsWith('.service'));

test('there is a unit for each program', () =>
  assert.deepEqual(names.sort(), ['dpd-agent.service', 'dpd-failover.service', 'dpd-node.service']));

for (const name of names) {
  const unit = readFileSync(join(UNITS, name), 'utf8');
  const values = (key: string) => [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value]) => value!);

  test(`${name}: systemd takes it, and it is not exposed`, { skip }, (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'dpd-units-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const file = join(directory, name);
    // The program need not be installed here.
    writeFileSync(file, unit.replace(/^ExecStart=\S+/m, 'ExecStart=/bin/true'));
    const verified = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
    assert.deepEqual([verified.status, verified.stderr], [0, '']);
    const judged = spawnSync('systemd-analyze', ['security', '--offline=true', file], { encoding: 'utf8' });
    const [, score] = /Overall exposure level for \S+: (\d+\.\d+)/.exec(judged.stdout) ?? [];
    assert(Number(score) < MOST_EXPOSED, `exposure ${score}\n${judged.stdout}`);
  });

  test(`${name}: its program, its settings and its powers`, () => {
    assert.deepEqual(values('ExecStart'), [`/usr/bin/${name.replace('.service', '')}`]);
    assert.deepEqual(values('CapabilityBoundingSet'), [name === 'dpd-agent.service' ? 'CAP_NET_ADMIN' : '']);
    assert.match(values('ExecReload')[0]!, /-HUP \$MAINPID$/);
    const tables = [
      NODE_SETTINGS,
      AGENT_SETTINGS,
      FAILOVER_WORKER_SETTINGS,
      ...Object.values(HEADENDS).map(({ settings }) => settings),
    ];
    const known = new Set(tables.flatMap((table) => Object.values(table).map(({ env }) => env)));
    const loaded = values('LoadCredential').map((value) => value.split(':')[0]!);
    for (const assignment of values('Environment').flatMap((value) => value.split(' '))) {
      const [variable, value] = assignment.split('=') as [string, string];
      assert(known.has(variable) || variable.startsWith('NODE_'), `no such setting: ${variable}`);
      if (value.startsWith('%d/')) assert(loaded.includes(value.slice(3)), `${value} is not loaded`);
    }
    // The default, a socket in the working directory, is nothing for a service.
    if (name !== 'dpd-failover.service') assert(values('Environment').includes('DPD_ADDRESS=127.0.0.1:7600'));
    // A stop that drains must not be cut short.
    const stop = Number.parseInt(values('TimeoutStopSec')[0]!, 10) * 1_000;
    const longest = {
      'dpd-node.service': NODE_SETTINGS.drain.fallback,
      'dpd-agent.service': HEADENDS.strongswan.settings['linger']!.fallback,
    };
    assert(stop > Number((longest as Record<string, string>)[name] ?? 0) + 5_000, `${stop} ms to stop`);
  });
}

const withoutPowers = skipUnless({ 'util-linux': ['/usr/bin/setpriv'] }, { root: true });
test('a node serves without any power of root, and reads its files again at SIGHUP', {
  skip: withoutPowers,
}, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-powerless-'));
  spawnSync('chown', ['nobody', directory]);
  const port = await freePort();
  const powerless = ['--reuid=nobody', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'];
  const vault = join(directory, 'vault.key');
  writeFileSync(vault, `${Buffer.alloc(32, 1).toString('base64')}\n`, { mode: 0o600 });
  spawnSync('chown', ['nobody', vault]);
  const child = spawn('setpriv', [...powerless, process.execPath, NODE], {
    env: {
      PATH: process.env['PATH'],
      DPD_ADDRESS: `unix:${join(directory, 'api.sock')}`,
      DPD_DATA_DIR: join(directory, 'data'),
      DPD_VAULT_KEY_FILE: vault,
      DPD_THREADS: '1',
      DPD_PROBE_PORT_BASE: '0',
      DPD_METRICS_ADDRESS: `127.0.0.1:${port}`,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (text: Buffer) => {
    log += text;
  });
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  await eventually('ready', 30_000, async () => {
    if (child.exitCode !== null) throw new Error(log);
    return (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined))?.status === 200;
  });
  assert.match(readFileSync(`/proc/${child.pid}/status`, 'utf8'), /^CapEff:\t0+$/m);
  child.kill('SIGHUP');
  // Sooner than files are looked at.
  await eventually('read again', 1_500, () => log.includes('vault keys read again'));
  child.kill('SIGTERM');
  await once(child, 'exit', { signal: AbortSignal.timeout(10_000) });
  assert.equal(child.exitCode, 0, log);
});
