import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { HEADENDS } from '../../services/agent/headend/kinds.ts';
import { PeersFile } from '../../services/agent/headend/peers-file.ts';
import { AGENT_SETTINGS } from '../../services/agent/settings.ts';
import { NODE_SETTINGS } from '../../services/node/settings.ts';
import { eventually } from '../eventually.ts';
import { LAB_SKIP, Lab } from '../interop/lab.ts';
import { ROOT, run } from './run.ts';
import { type Sample, samplesOf } from './scraped.ts';

const GUIDES = join(ROOT, 'docs/guides');
/** The peers file of the guide: 10 s, and 5 probes 2 s apart. */
const DETECTION_MS = 20_000;

/** Blocks of a guide in a language, in order. */
function blocks(guide: string, language: string): string[] {
  return [...guide.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, text]) => text!);
}

/** Assignments of a block or unit, NAME=value. */
function assignments(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(/^([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, name, value]) => [name!, value!]));
}

const guideFiles = readdirSync(GUIDES).filter((file) => file.endsWith('.md'));

for (const file of guideFiles) {
  const guide = readFileSync(join(GUIDES, file), 'utf8');
  test(`${file}: its settings are known and can be used, its links lead somewhere`, () => {
    const tables = [NODE_SETTINGS, AGENT_SETTINGS, ...Object.values(HEADENDS).map(({ settings }) => settings)];
    const settings = tables.flatMap((table) => Object.values(table));
    for (const block of blocks(guide, 'sh'))
      for (const [name, value] of Object.entries(assignments(block))) {
        const known = settings.filter(({ env }) => env === name);
        assert(known.length > 0, `no such setting: ${name}`);
        for (const { parse } of known) assert.doesNotThrow(() => parse(value), `${name}=${value}`);
      }
    for (const block of blocks(guide, 'json')) PeersFile.parse(JSON.parse(block), file);
    for (const [, path] of guide.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g))
      assert(existsSync(join(GUIDES, path!)), `${file} links to ${path}`);
    for (const [, metric] of guide.matchAll(/`(dpd_[a-z_]+)`/g)) {
      const documented = metric!.replace(/_(total|seconds|bytes)$/, '').replaceAll('_', '.');
      const names = [...readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8').matchAll(/`(dpd\.[a-z_.]+)`/g)];
      assert(
        names.some(([, name]) => name!.replaceAll('_', '.') === documented),
        `no such metric: ${metric}`,
      );
    }
  });
}

describe('Protect a strongSwan hub in ten minutes', { skip: LAB_SKIP, timeout: 170_000 }, () => {
  const guide = readFileSync(join(GUIDES, 'strongswan-hub.md'), 'utf8');

  test('every step of it, with the units’ own settings', async (t) => {
    const [, ha] = /^```\n(ha \{[\s\S]*?)^```$/m.exec(guide)!;
    const lab = await Lab.up({ proposal: 'aes256gcm16-prfsha256-x25519', extras: 0 });
    const running: ChildProcess[] = [];
    let log = '';
    t.after(async () => {
      for (const child of running) child.kill('SIGKILL');
      await lab.down();
    });

    // Step 2: the lab's hub has the snippet of the guide.
    const words = (text: string) =>
      text
        .split(/\s+/)
        .filter((word) => word !== '')
        .join(' ');
    const conf = words(readFileSync(join(lab.directory, 'hub/strongswan.conf'), 'utf8'));
    assert(conf.includes(words(ha!).replace('load = yes ', '')), 'the lab’s charon is set up in another way');

    // Step 3, the command of the guide; the package has the script below /usr/share/doc.
    const etc = join(lab.directory, 'etc');
    const [, command] = /^sh \/usr\/share\/doc\/dpd-offload\/(deploy\/make-certificates\.sh .*)$/m.exec(guide)!;
    run('sh', command!.replace('/etc/dpd-offload', etc).split(' '), { cwd: ROOT });

    // Step 4 and 5.
    writeFileSync(join(etc, 'peers.json'), blocks(guide, 'json')[0]!);
    const env = (name: string) => {
      const block = new RegExp(`\`/etc/dpd-offload/${name}\\.env\`:\\n\\n\`\`\`sh\\n([\\s\\S]*?)\`\`\``).exec(guide);
      return assignments(block![1]!);
    };

    // Step 6: what the units start, with what they set, and without the powers that they take away.
    const start = (program: 'node' | 'agent', more: Record<string, string> = {}) => {
      const unit = readFileSync(join(ROOT, `deploy/systemd/dpd-${program}.service`), 'utf8');
      const set = [...unit.matchAll(/^Environment=(.*)$/gm)].flatMap(([, line]) => line!.split(' '));
      const places = {
        '%d': etc,
        '%S': join(lab.directory, 'state'),
        '%C': join(lab.directory, 'cache'),
        '/etc/dpd-offload': etc,
      };
      const fill = (text: string) => Object.entries(places).reduce((all, [from, to]) => all.replaceAll(from, to), text);
      const [, bounds] = /^CapabilityBoundingSet=(.*)$/m.exec(unit)!;
      const left = bounds === '' ? '-all' : `-all,+${bounds!.replace('CAP_', '').toLowerCase()}`;
      const main = join(ROOT, `services/${program}/main.ts`);
      const [inside, ...args] = lab.inside(
        'hub',
        'setpriv',
        `--bounding-set=${left}`,
        `--inh-caps=${left}`,
        process.execPath,
        main,
      );
      const child = spawn(inside!, args, {
        env: { PATH: process.env['PATH'], ...assignments(set.map(fill).join('\n')), ...env(program), ...more },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      child.stderr!.on('data', (text: Buffer) => {
        log += text;
      });
      running.push(child);
      return child;
    };
    mkdirSync(join(lab.directory, 'state'));
    start('node');
    const agent = start('agent', { DPD_VICI_SOCKET: lab.viciSocket('hub'), DPD_LINGER_MS: '1000' });

    // Step 7: its commands, in the hub's namespace.
    const [ready, metrics] = /```sh\n(curl .*readyz)\n(curl .*)\n```/.exec(guide)!.slice(1, 3) as [string, string];
    const sh = async (line: string) => {
      const [program, ...args] = lab.inside('hub', 'sh', '-c', line);
      return (await promisify(execFile)(program!, args)).stdout;
    };
    const seen = async (): Promise<Sample[]> => samplesOf(await sh(metrics).catch(() => ''));
    const sum = async (name: string, label?: string, value?: string) =>
      (await seen())
        .filter((sample) => sample.name === name && (!label || sample.labels[label] === value))
        .reduce((total, sample) => total + sample.value, 0);
    const wait = (what: string, ms: number, check: () => Promise<boolean>) =>
      eventually(what, ms, check, 200).catch((error: Error) => {
        throw new Error(`${error.message}\n${log}`);
      });
    await wait('the agent is ready', 60_000, async () => (await sh(ready).catch(() => '')) === 'ok\n');
    await wait('the peer is watched', 30_000, async () => (await sum('dpd_peers')) === 1);
    await wait('the path is vouched for', 30_000, async () => (await sum('dpd_path_vouched')) >= 1);
    await wait('it answers', 30_000, async () => (await sum('dpd_probes_answered_total')) >= 1);
    assert.equal(await sum('dpd_peers', 'dpd_peer_state', 'alive'), 1, log);
    assert.equal(await sum('dpd_peers_left_out'), 0);

    // The plug is pulled.
    lab.freeze('spoke-a');
    await wait('the second endpoint is up', DETECTION_MS + 30_000, async () => {
      const sas = await lab.sas('hub');
      return sas.length === 1 && sas[0]!.established && sas[0]!.remote.address === '198.51.100.10';
    });
    assert.match(log, /"peer":"spoke1".*"msg":"peer is dead"/);
    assert.match(log, /"outcome":"FAILED_OVER".*"msg":"verdict applied"/);

    // Step 8: the tunnel stands when the agent has gone, and no rule is left.
    agent.kill('SIGTERM');
    await wait('the agent has ended', 30_000, async () => agent.exitCode === 0);
    assert.equal((await lab.sas('hub')).filter(({ established }) => established).length, 1);
    assert.doesNotMatch(await lab.exec('hub', 'nft', 'list', 'ruleset'), /dpd/);
  });
});
