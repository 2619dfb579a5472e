import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { connectRedis, patientRedis } from '../../services/store/redis/redis.ts';
import { SettingsError } from '../../workers/base/errors.ts';
import { freePorts } from '../chaos/redis-servers.ts';
import { eventually } from '../eventually.ts';
import { PKI_SKIP, Pki } from './pki.ts';

const PLAIN = ['--save', '', '--appendonly', 'no'];

/** Starts redis-server, to be killed after the test. */
function server(t: TestContext, args: readonly string[]): void {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-redis-tls-'));
  const child: ChildProcess = spawn('redis-server', args, { cwd: directory, stdio: 'ignore' });
  t.after(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    rmSync(directory, { recursive: true, force: true });
  });
}

/** Both kinds of connection answer. */
async function answers(url: string): Promise<boolean> {
  try {
    const redis = await connectRedis(url);
    const patient = patientRedis(url);
    try {
      return (await redis.ping()) === 'PONG' && (await patient.ping()) === 'PONG';
    } finally {
      redis.disconnect();
      patient.disconnect();
    }
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    return false;
  }
}

describe('Redis by TLS', { skip: PKI_SKIP, timeout: 120_000 }, () => {
  test('with a CA, a client’s certificate and a server name of one’s own; without any of them there is no connection', async (t) => {
    const pki = new Pki();
    t.after(() => pki.remove());
    pki.certificate('redis', 'DNS:redis.example');
    pki.certificate('client', 'DNS:node.example');
    const [port] = await freePorts(1);
    const files = ['--tls-cert-file', pki.path('redis.pem'), '--tls-key-file', pki.path('redis.key')];
    const ca = ['--tls-ca-cert-file', pki.path('ca.pem'), '--tls-auth-clients', 'yes'];
    server(t, ['--port', '0', '--tls-port', String(port), ...files, ...ca, ...PLAIN]);
    const at = `rediss://127.0.0.1:${port}`;
    const [all, own] = [`ca=${pki.path('ca.pem')}`, `cert=${pki.path('client.pem')}&key=${pki.path('client.key')}`];
    await eventually('it answers', 20_000, () => answers(`${at}?${all}&${own}&servername=redis.example`));
    await assert.rejects(
      connectRedis(`${at}?${all}&${own}&servername=other.example`),
      /rediss:\/\/127[^?]*: Hostname\/IP/,
    );
    await assert.rejects(connectRedis(`${at}?${own}&servername=redis.example`), /certificate/);
    await assert.rejects(connectRedis(`${at}?${all}&servername=redis.example`));
  });

  test('Sentinels that want a login and TLS of their own', async (t) => {
    const pki = new Pki();
    t.after(() => pki.remove());
    pki.certificate('redis', 'DNS:redis.example');
    const [master, sentinel] = (await freePorts(2)) as [number, number];
    const tls = [
      `tls-cert-file ${pki.path('redis.pem')}`,
      `tls-key-file ${pki.path('redis.key')}`,
      `tls-ca-cert-file ${pki.path('ca.pem')}`,
      'tls-auth-clients no',
    ];
    const write = (name: string, lines: readonly string[]) => writeFileSync(pki.path(name), `${lines.join('\n')}\n`);
    write('master.conf', ['port 0', `tls-port ${master}`, ...tls, 'requirepass data', 'save ""']);
    write('sentinel.conf', [
      ...['port 0', `tls-port ${sentinel}`, ...tls, 'tls-replication yes', 'user watcher on >secret ~* &* +@all'],
      ...['requirepass other', `sentinel monitor mymaster 127.0.0.1 ${master} 1`, 'sentinel auth-pass mymaster data'],
    ]);
    server(t, [pki.path('master.conf')]);
    server(t, [pki.path('sentinel.conf'), '--sentinel']);
    const at = `rediss+sentinel://default:data@127.0.0.1:${sentinel}/mymaster`;
    const ca = `ca=${pki.path('ca.pem')}&servername=redis.example`;
    await eventually('by user and password', 30_000, () =>
      answers(`${at}?${ca}&sentinel-user=watcher&sentinel-password=secret`),
    );
    assert.equal(await answers(`${at}?${ca}&sentinel-password=other`), true);
    await assert.rejects(
      connectRedis(`${at}?${ca}&sentinel-password=wrong`),
      (error: Error) => !error.message.includes('wrong'),
    );
  });

  test('what cannot be used, or would have no effect, is refused by its name', async () => {
    for (const [url, why] of [
      ['redis://h?ca=/x', /"ca" is only for rediss/],
      ['rediss://h?sentinel-user=x', /"sentinel-user" is only for redis\+sentinel/],
      ['rediss://h?passphrase=x', /"passphrase" is not known/],
      ['rediss://h?cert=/x', /cert and key go together/],
      ['rediss://h?ca=/nowhere/ca.pem', /ca \/nowhere\/ca\.pem: ENOENT/],
      ['redis+cluster://%E0%A4%A@h:1', /percent-encoded/],
      [
        `rediss://h?ca=${import.meta.filename}&cert=${import.meta.filename}&key=${import.meta.filename}`,
        /cannot be used/,
      ],
    ] as const)
      await assert.rejects(
        connectRedis(url),
        (error) => error instanceof SettingsError && why.test(error.message),
        url,
      );
  });
});
