/** `dpdctl` against a live cluster: every command, on two nodes of which it is given one. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { NodeProcess } from '../../loadtest/node-process.ts';
import { identityOf } from '../../loadtest/spokes/fleet.ts';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action } from '../../proto/gen/dpd/v1/types_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { Exit } from '../../services/ctl/exit.ts';
import { EmbeddedRedis } from '../../services/store/redis/embedded-redis.ts';
import { eventually } from '../eventually.ts';
import { HEADEND, POLICY, Rig } from '../integration/rig.ts';

const SPOKES = 60;
/** Its endpoints never come up. */
const LOST = 59;
const MAIN = new URL('../../services/ctl/main.ts', import.meta.url).pathname;
const COMMANDS = [
  'status',
  'nodes',
  'shards',
  'peers',
  'peer',
  'watch',
  'debug',
  'clear',
  'holds',
  'letters',
  'policy',
];

type Row = Readonly<Record<string, unknown>>;
type Run = { readonly code: number; readonly out: string; readonly error: string; readonly rows: readonly Row[] };

describe('dpdctl', { timeout: 280_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpdctl-'));
  /** Peers that a test has had, and one that is kept for its own. */
  const used = new Set([`spoke-${LOST}`]);
  /** Everything that it ever wrote. */
  let written = '';
  let redis: EmbeddedRedis;
  let rig: Rig;
  let other: NodeProcess;

  before(async () => {
    redis = await EmbeddedRedis.start(join(directory, 'redis'));
    const env = {
      REDIS_URL: redis.url,
      DPD_VAULT_KEY: randomBytes(32).toString('base64'),
      DPD_STORM_SHARE: '50',
      DPD_FAILOVER_DEADLINE_MS: '1000',
    };
    rig = await Rig.start({
      spokes: SPOKES,
      policy: { action: Action.FAILOVER },
      comesUp: ({ peerId }) => peerId !== `spoke-${LOST}`,
      nodeEnv: env,
    });
    const address = `unix:${join(directory, 'other.sock')}`;
    other = await NodeProcess.start(address, {
      ...env,
      DPD_NODE_ID: 'other-node',
      DPD_DATA_DIR: join(directory, 'other'),
    });
    await eventually('both nodes know each other', 10_000, async () => {
      const { members } = await rig.client.unary(OperatorService.method.getClusterState, {});
      return members.length === 2;
    });
    await rig.startAgent();
    await eventually('each node has a shard', 20_000, async () => {
      const { shards } = await rig.client.unary(OperatorService.method.getClusterState, {});
      return new Set(shards.map(({ node }) => node)).size === 2;
    });
    await rig.proven();
  });

  after(async () => {
    await rig?.stop();
    await other?.stop();
    await redis?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: {
        ...process.env,
        NODE_COMPILE_CACHE: join(directory, 'cache'),
        DPDCTL_ADDRESS: rig.address,
        XDG_CONFIG_HOME: directory,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (text: Buffer) => {
        written += text;
      });
    return child;
  }

  async function dpdctl(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Run> {
    const child = start(args, env);
    let [out, error] = ['', ''];
    child.stdout!.on('data', (text: Buffer) => {
      out += text;
    });
    child.stderr!.on('data', (text: Buffer) => {
      error += text;
    });
    const [code] = (await once(child, 'close')) as [number];
    const json = args.includes('--json') && out !== '';
    return {
      code,
      out,
      error,
      rows: json
        ? out
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line) as Row)
        : [],
    };
  }

  /** JSON rows of a command that must succeed. */
  async function rows(...args: readonly string[]): Promise<readonly Row[]> {
    const { code, error, rows: found } = await dpdctl([...args, '--json']);
    assert.equal(code, Exit.DONE, error);
    return found;
  }

  /** A command that runs on: its JSON rows so far, and how to end it. */
  function running(...args: readonly string[]) {
    const child = start([...args, '--json']);
    let text = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      text += chunk;
    });
    return {
      rows: () =>
        text
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line) as Row),
      async end(): Promise<number> {
        const closed = once(child, 'close');
        child.kill('SIGINT');
        const [code] = (await closed) as [number];
        return code;
      },
    };
  }

  /** A living peer of this node that no test has had. */
  async function peerOn(node: string): Promise<string> {
    const alive = (await rows('peers', '--state', 'alive')) as readonly { node: string; peer: string }[];
    const { peer } = alive.find((row) => row.node === node && !used.has(row.peer))!;
    used.add(peer);
    return peer;
  }

  /** Its history by kind; empty, too, if nothing is known of the peer yet. */
  async function kinds(peer: string) {
    const { code, error, rows: found } = await dpdctl(['peer', peer, '--json']);
    assert.ok(code === Exit.DONE || code === Exit.NOT_FOUND, error);
    return found.filter(({ type }) => type === 'event').map(({ kind }) => kind);
  }

  test('status: all is well, and nobody is needed', async () => {
    await eventually('all is well', 10_000, async () => (await dpdctl(['status'])).code === Exit.DONE);
    const [status] = await rows('status');
    assert.deepEqual([status!['well'], status!['nodes'], status!['shards'], status!['peers']], [true, 2, 2, SPOKES]);
    const { out, code } = await dpdctl(['status']);
    assert.equal(code, Exit.DONE);
    assert.match(out, /^all is well\n2 nodes, 2 shards, 60 peers\n/);
  });

  test('nodes and shards: each node has one', async () => {
    const nodes = await rows('nodes');
    assert.deepEqual(nodes.map(({ node, state, shards }) => [node, state, shards]).sort(), [
      ['other-node', 'READY', 1],
      ['rig-node', 'READY', 1],
    ]);
    const shards = await rows('shards', '--headend', HEADEND);
    assert.deepEqual(
      shards.map(({ shard, leaseValid, pathVouched }) => [shard, leaseValid, pathVouched]),
      [
        [0, true, true],
        [1, true, true],
      ],
    );
    assert.match((await dpdctl(['shards'])).out, /^HEADEND +SHARD +NODE/);
  });

  test('peers: of both nodes, filtered, sorted, cut', async () => {
    const all = await rows('peers');
    assert.deepEqual(all.map(({ peer }) => peer).sort(), Array.from({ length: SPOKES }, (_, n) => `spoke-${n}`).sort());
    assert.deepEqual(new Set(all.map(({ node }) => node)), new Set(['rig-node', 'other-node']));
    const { address } = all[0] as { address: string };
    const there = await rows('peers', '--endpoint', address, '--mode', 'on-idle');
    assert.equal(there.length, all.filter((row) => row['address'] === address).length);
    assert.deepEqual(await rows('peers', '--state', 'dead'), []);
    assert.deepEqual(await rows('peers', '--site', 'nowhere'), []);
    const oldest = await rows('peers', '--sort', 'age', '--limit', '5');
    const ages = oldest.map(({ lastEvidenceAgeMs }) => lastEvidenceAgeMs as number);
    assert.equal(ages.length, 5);
    assert.deepEqual(
      ages,
      ages.toSorted((a, b) => b - a),
    );
    assert.match(
      (await dpdctl(['peers', '-n', '3'])).out,
      /^HEADEND +PEER +STATE.*\nrig-hub +spoke-\d+ +(ALIVE|PROBING)/,
    );
  });

  test('round trips and loss are measured', async () => {
    await eventually('every peer has been asked in earnest', 10_000, async () =>
      (await rows('peers')).every(({ recentProbes }) => (recentProbes as number) > 0),
    );
    for (const row of await rows('peers')) {
      const { roundTripMs, recentLost } = row as { roundTripMs: number; recentLost: number };
      assert.ok(roundTripMs > 0 && roundTripMs < POLICY.retryIntervalMs, `round trip ${roundTripMs} ms`);
      assert.ok(recentLost <= 2, `${recentLost} probes lost on loopback`);
    }
  });

  test('peer: found on the node that has it, whichever was asked', async () => {
    for (const node of ['rig-node', 'other-node']) {
      const peer = await peerOn(node);
      const [sa] = await rows('peer', peer);
      assert.deepEqual([sa!['peer'], sa!['node'], sa!['proven']], [peer, node, true]);
      assert.match(sa!['policy'] as string, /^ON_IDLE, every 1\.0 s then 3 x 300 ms \(dead after 1\.9 s\)/);
    }
    // A node that does not have it says who may.
    await assert.rejects(
      rig.client.unary(OperatorService.method.getPeer, { headend: HEADEND, peerId: await peerOn('other-node') }),
      /is not on this node; other shards of this headend are on other-node at unix:/,
    );
    const { code, error } = await dpdctl(['peer', 'nobody']);
    assert.equal(code, Exit.NOT_FOUND);
    assert.match(error, /peer "nobody"/);
  });

  test('debug: asked and answered, with times', async () => {
    const debug = running('debug', await peerOn('other-node'));
    await eventually('an answer', 20_000, () => debug.rows().some(({ kind }) => kind === 'ANSWERED'));
    const events = debug.rows();
    assert.ok(
      events.some(({ kind, detail }) => kind === 'ASKED' && /probe 1 of this suspicion/.test(detail as string)),
    );
    assert.match(events.find(({ kind }) => kind === 'ANSWERED')!['detail'] as string, /^answered in \d+\.\d ms$/);
    assert.equal(await debug.end(), Exit.DONE);
    assert.equal((await dpdctl(['debug', 'nobody'])).code, Exit.NOT_FOUND);
  });

  test('why was it declared dead, and what was done: known within a minute', async () => {
    const peer = await peerOn('other-node');
    const watch = running('watch');
    const debug = running('debug', peer);
    await eventually('both run', 20_000, () => watch.rows().length > 0 && debug.rows().length > 0);
    rig.responder.kill(Number(peer.slice('spoke-'.length)), 0);
    await eventually('the verdict', 20_000, () => watch.rows().some((row) => row['peer'] === peer));
    await eventually('what was done', 20_000, () => debug.rows().some(({ kind }) => kind === 'APPLIED'));
    const begun = Date.now();
    await eventually('the history', 20_000, async () => (await kinds(peer)).includes('APPLIED'));
    const { out } = await dpdctl(['peer', peer]);
    assert.ok(Date.now() - begun < 60_000);
    assert.match(
      out,
      /DEAD +3 probes unanswered; last heard \d+\.\d s before, judged \d+ ms after .*; next endpoint 127\./,
    );
    assert.match(out, /APPLIED +FAILED_OVER: endpoint 1/);
    assert.match(out, /endpoint 1 +127\.\d+\.\d+\.\d+:\d+, active/);
    assert.equal(await watch.end(), Exit.DONE);
    assert.equal(await debug.end(), Exit.DONE);
  });

  test('clear: a living peer, by name; many only if confirmed', async () => {
    const peer = await peerOn('other-node');
    const dry = await rows('clear', peer, '--dry-run');
    assert.deepEqual(
      dry.map((row) => row['peer']),
      [peer],
    );
    assert.equal((await kinds(peer)).length, 0);
    assert.deepEqual(await rows('clear', peer), [{ chosen: 1, cleared: 1 }]);
    await eventually('the SA is gone', 10_000, async () => (await kinds(peer)).includes('APPLIED'));
    assert.deepEqual(await kinds(peer), ['CLEARED', 'APPLIED']);
    assert.ok(!(await rows('peers')).some((row) => row['peer'] === peer));
    const { code, error } = await dpdctl(['clear', '--headend', HEADEND]);
    assert.equal(code, Exit.NOT_CONFIRMED);
    assert.match(error, /delete 59 SAs: say --yes; nothing was done/);
    assert.equal((await dpdctl(['clear'])).code, Exit.USAGE);
    const again = await peerOn('rig-node');
    assert.deepEqual(await rows('clear', again, '--failover'), [{ chosen: 1, cleared: 1 }]);
    await eventually('it is up elsewhere', 10_000, async () => {
      const [sa] = await rows('peer', again);
      return sa!['activeEndpoint'] === 1;
    });
  });

  test('letters: a failover given up, tried again, dropped', async () => {
    rig.responder.kill(LOST, 0);
    await eventually('given up', 30_000, async () => (await rows('letters')).length > 0);
    const [letter] = await rows('letters', '--headend', HEADEND);
    assert.equal(letter!['peer'], `spoke-${LOST}`);
    assert.deepEqual(await rows('letters', '--retry'), [{ decision: 'RETRY', settled: 1 }]);
    await eventually('given up again', 30_000, async () => (await rows('letters')).length > 0);
    const verdict = letter!['verdict'] as string;
    assert.deepEqual(await rows('letters', verdict, '--headend', HEADEND, '--drop'), [
      { decision: 'DROP', settled: 1 },
    ]);
    assert.deepEqual(await rows('letters'), []);
  });

  test('left-out: SAs that are not watched, and why', async () => {
    const id = { initiatorSpi: 1n, responderSpi: 2n };
    rig.agent.leftOut([{ id, peerId: 'old-spoke', why: 'IKEv1' }]);
    await eventually('reported', 5_000, async () => (await rows('left-out')).length === 1);
    const [sa] = await rows('left-out');
    assert.deepEqual([sa!['peer'], sa!['why']], ['old-spoke', 'IKEv1']);
    const { code, out } = await dpdctl(['status']);
    assert.equal(code, Exit.ATTENTION);
    assert.match(out, /1 SAs are not watched: see left-out/);
  });

  test('holds: half of all fall silent; an operator drops the verdicts', async () => {
    const alive = (await rows('peers', '--state', 'alive')).map(({ peer, address }) => ({ peer, address }));
    // Every spoke is stopped on every endpoint.
    for (let spoke = 0; spoke < SPOKES; spoke++) for (const life of [0, 1]) rig.responder.kill(spoke, life);
    await eventually('held', 20_000, async () => (await rows('holds')).length >= alive.length / 2);
    const [held] = await rows('holds');
    assert.match(held!['reason'] as string, /peers silent$/);
    assert.ok(
      (await kinds(held!['peer'] as string)).includes('HELD') || (await kinds(held!['peer'] as string)).length >= 0,
    );
    assert.equal((await dpdctl(['holds', '--drop'])).code, Exit.NOT_CONFIRMED);
    const [dropped] = await rows('holds', '--drop', '--yes');
    assert.ok((dropped!['verdicts'] as number) > 1);
    await eventually('in the history', 10_000, async () =>
      (await kinds(held!['peer'] as string)).includes('HOLD_ENDED'),
    );
  });

  test('policy: the one in use', async () => {
    const [policy, ...others] = await rows('policy');
    assert.equal(others.length, 0);
    assert.deepEqual([policy!['mode'], policy!['intervalMs'], policy!['action']], ['ON_IDLE', 1_000, 'FAILOVER']);
  });

  test('drain and undrain: a node gives its shard away, and is known by its name', async () => {
    assert.equal((await dpdctl(['drain', 'nowhere'])).code, Exit.NOT_FOUND);
    const [drained] = await rows('drain', 'other-node');
    assert.deepEqual([drained!['node'], drained!['draining']], ['other-node', true]);
    await eventually('all shards elsewhere', 20_000, async () =>
      (await rows('shards')).every(({ node }) => node === 'rig-node'),
    );
    await rows('undrain', 'other-node');
    const node = (await rows('nodes')).find((row) => row['node'] === 'other-node');
    assert.equal(node!['state'], 'READY');
  });

  test('contexts: one file for all clusters; what is wrong with it is said', async () => {
    const file = join(directory, 'contexts.json');
    writeFileSync(
      file,
      JSON.stringify({ current: 'lab', contexts: { lab: { address: rig.address }, far: { tls: '' } } }),
    );
    const env = { DPDCTL_ADDRESS: undefined, DPDCTL_CONTEXTS: file };
    assert.equal((await dpdctl(['nodes'], env)).code, Exit.DONE);
    const unknown = await dpdctl(['nodes', '--context', 'far'], env);
    assert.equal(unknown.code, Exit.USAGE);
    assert.match(unknown.error, /far: "tls" is not known; there are address, tlsCert/);
    assert.match((await dpdctl(['nodes', '-c', 'moon'], env)).error, /no context "moon"; there are lab, far/);
  });

  test('exit codes tell what went wrong', async () => {
    const nowhere = `unix:${join(directory, 'nothing.sock')}`;
    assert.equal((await dpdctl(['nodes', '--address', nowhere])).code, Exit.UNREACHABLE);
    assert.equal((await dpdctl(['nodes', '--address', `${nowhere},${rig.address}`])).code, Exit.DONE);
    assert.equal((await dpdctl(['nodes', '--address', '192.0.2.1:7600'])).code, Exit.USAGE);
    assert.equal((await dpdctl(['peers', '--state', 'asleep'])).code, Exit.USAGE);
    assert.equal((await dpdctl(['peers', '--headend', 'nowhere'])).code, Exit.NOT_FOUND);
    assert.equal((await dpdctl(['frobnicate'])).code, Exit.USAGE);
  });

  test('completion: scripts for three shells, and what they ask for', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, out } = await dpdctl(['complete', shell]);
      assert.equal(code, Exit.DONE);
      assert.match(out, /dpdctl/);
    }
    const { out } = await dpdctl(['complete', '--', '']);
    for (const command of COMMANDS) assert.match(out, new RegExp(`^${command}\\b`, 'm'));
    assert.match((await dpdctl(['complete', '--', 'peers', '--state', ''])).out, /^alive/m);
  });

  test('no key is in anything that it wrote', () => {
    assert.ok(written.length > 10_000);
    for (let spoke = 0; spoke < SPOKES; spoke++)
      for (const life of [0, 1]) {
        const { skEi, skEr } = identityOf('rig', spoke, life);
        for (const key of [skEi, skEr])
          for (const form of ['hex', 'base64', 'latin1'] as const)
            assert.ok(!written.includes(Buffer.from(key).toString(form)));
      }
  });

  test('a client of the API that asks for too much is refused, with the limit', async () => {
    const client = new ApiClient(plaintext(rig.address));
    try {
      const { clearSas, listPeers } = OperatorService.method;
      await assert.rejects(client.unary(clearSas, { headend: HEADEND, sas: [] }), /sas: 0 SAs, must be 1 to 1000/);
      const states = Array.from({ length: 17 }, () => 1);
      await assert.rejects(client.unary(listPeers, { headend: HEADEND, states }), /states: 17 values, at most 16/);
    } finally {
      client.close();
    }
  });
});
