import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SimulatedHeadend } from '../../loadtest/headend/simulated.ts';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import type { Agent } from '../../services/agent/agent.ts';
import { readSettings } from '../../services/base/settings.ts';
import { DpdNode } from '../../services/node/node.ts';
import { NODE_SETTINGS } from '../../services/node/settings.ts';
import { shardKeys } from '../../services/store/keys.ts';
import { EmbeddedRedis } from '../../services/store/redis/embedded-redis.ts';
import { connectRedis } from '../../services/store/redis/redis.ts';
import { runScript } from '../../services/store/redis/scripts.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, localAgent, Rig, SHARDS, SILENT } from './rig.ts';

test('Redis away: liveness goes on, nobody is killed by it, and the verdicts arrive when it is back', async (t) => {
  const spokes = 100;
  const dead = [5, 50];
  const rig = await Rig.start({ spokes });
  const redis = Number(readFileSync(join(rig.directory, 'data', 'redis.pid'), 'utf8'));
  t.after(async () => {
    process.kill(redis, 'SIGCONT');
    await rig.stop();
  });
  await rig.startAgent();
  await eventually('everyone was probed', 10_000, async () => (await rig.count('probesAnswered')) >= spokes);
  process.kill(redis, 'SIGSTOP');
  for (const spoke of dead) rig.responder.kill(spoke, 0);
  const before = rig.responder.answered;
  await sleep(8_000);
  assert(rig.responder.answered - before > 3 * spokes, 'probing stood still without Redis');
  assert.equal(rig.verdicts.length, 0, 'a verdict was delivered before it was in the log');
  process.kill(redis, 'SIGCONT');
  await eventually('the verdicts arrive', 10_000, () => rig.verdicts.length >= dead.length);
  await sleep(2 * DETECTION_MS);
  assert.deepEqual(rig.verdicts.map(({ peerId }) => peerId).sort(), dead.map((spoke) => `spoke-${spoke}`).sort());
});

test('Redis refuses writes: what the headend registers waits, its answers are asked for again, and its streams stand', async (t) => {
  const spokes = 60;
  const rig = await Rig.start({ spokes });
  t.after(() => rig.stop());
  const broken = t.mock.method(SimulatedHeadend.prototype, 'disconnected');
  await rig.startAgent();
  const redis = await connectRedis(rig.redisUrl);
  t.after(() => redis.disconnect());
  // A verdict is delivered, and Redis cannot take its acknowledgement, nor that the SA is gone.
  rig.responder.kill(7, 0);
  await eventually('the verdict is delivered', 10_000, async () => {
    if (rig.verdicts.length === 0) return false;
    await redis.call('CONFIG', 'SET', 'maxmemory', '1');
    return true;
  });
  rig.agent.remove(rig.sa(8).id!);
  await sleep(3_000);
  assert.match(rig.node.log, /batch refused/);
  assert.equal(rig.agent.settled, false);
  await redis.call('CONFIG', 'SET', 'maxmemory', '0');
  await eventually('everything is registered', 5_000, () => rig.agent.settled);
  assert.equal(await rig.count('peers'), spokes - 2);
  const unacked = async () => {
    const open = await Promise.all([0, 1].map((shard) => redis.hlen(shardKeys({ headend: HEADEND, shard }).unacked)));
    return open.reduce((sum, count) => sum + count, 0);
  };
  await eventually('the verdict is acknowledged', 20_000, async () => (await unacked()) === 0);
  assert.deepEqual(new Set(rig.verdicts.map(({ peerId }) => peerId)), new Set(['spoke-7']));
  assert.equal(broken.mock.callCount(), 0, 'a stream broke');
});

/** Nodes in this process on one Redis, with spokes and data planes of a rig. */
async function cluster(names: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-cluster-'));
  const redis = await EmbeddedRedis.start(join(directory, 'redis'));
  const vaultKey = randomBytes(32).toString('base64');
  const nodes = await Promise.all(
    names.map((name) => {
      const settings = readSettings('', NODE_SETTINGS, {
        argv: ['--threads', '1', '--probe-address', '127.0.0.1'],
        env: {},
      });
      return DpdNode.start(
        {
          ...settings,
          address: `unix:${join(directory, `${name}.sock`)}`,
          nodeId: name,
          redisUrl: redis.url,
          vaultKey,
          probePortBase: 0,
        },
        SILENT,
      );
    }),
  );
  return {
    nodes,
    address: (name: string) => `unix:${join(directory, `${name}.sock`)}`,
    async stop() {
      for (const node of nodes) await node.stop();
      await redis.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function connectAgent(rig: Rig, address: string, spokes: number): Promise<Agent> {
  const plane = new SimulatedHeadend(
    {
      sas: Array.from({ length: spokes }, (_, spoke) => rig.sa(spoke)),
      failOver: () => undefined,
    },
    { share: 0, everyMs: 1_000 },
    { verdict: (verdict) => rig.verdicts.push(verdict) },
  );
  const agent = localAgent([address], plane);
  await plane.start(agent);
  await eventually('registered', 10_000, () => agent.settled);
  return agent;
}

test('a shard’s thread dies: its SAs are watched again on a new one', async (t) => {
  const spokes = 40;
  const rig = await Rig.start({ spokes });
  const { nodes, address, stop } = await cluster(['one']);
  const agent = await connectAgent(rig, address('one'), spokes);
  t.after(async () => {
    await agent.stop();
    await stop();
    await rig.stop();
  });
  const host = nodes[0]!.cluster.shards.hosted()[0]!;
  await eventually('everyone was probed', 10_000, () => rig.responder.answered >= 2 * spokes);
  const before = host.records;
  // Nothing that the API lets through makes the thread throw; this does.
  host.setPath(null as never);
  await eventually('the shard is loaded again', 10_000, () => host.records !== before && agent.settled);
  const answered = rig.responder.answered;
  await eventually('everyone is probed again', 10_000, () => rig.responder.answered - answered >= 3 * spokes);
  assert.equal(rig.verdicts.length, 0);
  assert.equal(
    nodes[0]!.cluster.shards.hosted().reduce((sum, { records }) => sum + records.set.count, 0),
    spokes,
  );
});

test('a newer owner fences the former one off: it lets go, and its headend brings the shard back', async (t) => {
  const spokes = 40;
  const rig = await Rig.start({ spokes });
  const { nodes, address, stop } = await cluster(['one']);
  const agent = await connectAgent(rig, address('one'), spokes);
  t.after(async () => {
    await agent.stop();
    await stop();
    await rig.stop();
  });
  await eventually('everyone was probed', 10_000, () => rig.responder.answered >= 2 * spokes);
  const node = nodes[0]!;
  const redis = await connectRedis(node.redisUrl);
  t.after(() => redis.disconnect());
  const before = node.cluster.shards.hosted().map((host) => ({ host, epoch: host.epoch }));
  for (let shard = 0; shard < SHARDS; shard++) {
    const { lease, checkpoint } = shardKeys({ headend: HEADEND, shard });
    await runScript(redis, 'take-lease', [lease, checkpoint], ['another', 100, '']);
  }
  await eventually('the former owner lets go', 5_000, () =>
    before.every(({ host }) => !node.cluster.shards.hosted().includes(host)),
  );
  await eventually(
    'the headend brings them back',
    10_000,
    () => node.cluster.shards.hosted().length === SHARDS && agent.settled,
  );
  for (const { host, epoch } of before)
    assert(
      node.cluster.shards.hosted().find(({ id }) => id.shard === host.id.shard)!.epoch > epoch,
      'the epoch did not grow',
    );
  const answered = rig.responder.answered;
  await eventually('message ids go on', 10_000, () => rig.responder.answered - answered >= 3 * spokes);
  await sleep(DETECTION_MS);
  assert.equal(rig.verdicts.length, 0);
  const { shards } = await rig.client.unary(OperatorService.method.getClusterState, {});
  assert.equal(shards.length, 0, 'another cluster sees these shards');
});
