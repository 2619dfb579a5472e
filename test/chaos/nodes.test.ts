import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { eventually } from '../eventually.ts';
import { ChaosCluster, DETECTION_MS } from './cluster.ts';
import { RedisServers } from './redis-servers.ts';

const SPOKES = 200;
const NODES = ['one', 'two', 'three'];

async function start(t: { after(done: () => Promise<void>): void }) {
  const redis = await RedisServers.single();
  const cluster = new ChaosCluster(redis.url);
  t.after(async () => {
    await cluster.stop();
    await redis.stop();
  });
  await Promise.all(NODES.map((name) => cluster.startNode(name)));
  await Promise.all(['hub-a', 'hub-b'].map((name) => cluster.startHeadend(name, SPOKES)));
  return { redis, cluster };
}

test('three nodes share the shards evenly; SIGKILL one: its shards go on elsewhere, nobody is killed, the dead found', async (t) => {
  const { cluster } = await start(t);
  await eventually('evenly spread', 20_000, async () => {
    const counts = await Promise.all(NODES.map(async (name) => (await cluster.counters(name)).length));
    return Math.max(...counts) <= 4 && Math.min(...counts) >= 2 && counts.reduce((a, b) => a + b) === 8;
  });
  await cluster.everyoneProbed(15_000);
  const victim = new Set((await cluster.counters('two')).map(({ headend, shard }) => `${headend}/${shard}`));
  await cluster.nodes.get('two')!.stop('SIGKILL');
  const [hub] = cluster.headends;
  for (const spoke of [5, 6, 7]) hub!.responder.kill(spoke, 0);
  await eventually('its shards are elsewhere', 5_000, async () => {
    const elsewhere = new Set((await cluster.counters()).map(({ headend, shard }) => `${headend}/${shard}`));
    return [...victim].every((name) => elsewhere.has(name));
  });
  await eventually('the dead are found', DETECTION_MS + 10_000, () => cluster.deadOf(hub!).length === 3);
  await cluster.everyoneProbed(15_000);
  assert.deepEqual(cluster.deadOf(hub!), ['spoke-5', 'spoke-6', 'spoke-7']);
  assert.deepEqual(cluster.deadOf(cluster.headends[1]!), []);
  // A node that joins gets its share again.
  await cluster.startNode('two');
  await eventually('spread again', 30_000, async () => (await cluster.counters('two')).length >= 2);
  await cluster.everyoneProbed(15_000);
  assert.equal(cluster.deadOf(hub!).length, 3);
});

test('SIGSTOP a node for 60 s: when it goes on it publishes nothing stale and kills nobody', async (t) => {
  const { cluster } = await start(t);
  await cluster.everyoneProbed(15_000);
  const node = cluster.nodes.get('one')!;
  const before = (await cluster.counters('one')).length;
  assert(before > 0);
  node.process.kill('SIGSTOP');
  const stoppedAt = Date.now();
  await eventually('its shards are elsewhere', 20_000, async () => {
    const others = [...(await cluster.counters('two')), ...(await cluster.counters('three'))];
    return others.length === 8;
  });
  await sleep(stoppedAt + 60_000 - Date.now());
  const [hub] = cluster.headends;
  const deadBefore = cluster.headends.map((headend) => headend.verdicts.length);
  node.process.kill('SIGCONT');
  await sleep(2 * DETECTION_MS);
  await cluster.everyoneProbed(15_000);
  assert.deepEqual(
    cluster.headends.map((headend) => headend.verdicts.length),
    deadBefore,
  );
  assert.deepEqual(deadBefore, [0, 0]);
  // And it still finds the dead.
  hub!.responder.kill(9, 0);
  await eventually('the dead one is found', DETECTION_MS + 5_000, () => cluster.deadOf(hub!).length === 1);
  assert.deepEqual(cluster.deadOf(hub!), ['spoke-9']);
});

test('drain by an operator: the shards move, all of them, and nobody is missed or killed meanwhile', async (t) => {
  const { cluster } = await start(t);
  await cluster.everyoneProbed(15_000);
  const client = new ApiClient(plaintext(cluster.address('three')));
  t.after(async () => client.close());
  const { shards } = await client.unary(OperatorService.method.setDraining, { draining: true }, 20_000);
  assert.equal(shards, 0, 'shards are still on the node that drains');
  const { members } = await client.unary(OperatorService.method.getClusterState, {});
  assert.deepEqual(
    members.map(({ id, draining }) => [id, draining]),
    [
      ['one', false],
      ['three', true],
      ['two', false],
    ],
  );
  const [hub] = cluster.headends;
  hub!.responder.kill(3, 0);
  await eventually('the dead one is found', DETECTION_MS + 5_000, () => cluster.deadOf(hub!).length === 1);
  await cluster.everyoneProbed(15_000);
  assert.deepEqual(cluster.deadOf(hub!), ['spoke-3']);
  await client.unary(OperatorService.method.setDraining, { draining: false });
  await eventually('it has shards again', 20_000, async () => (await cluster.counters('three')).length >= 2);
});

test('node and agent die together: nobody is judged while the agent is away, and the dead are found when it is back', async (t) => {
  const redis = await RedisServers.single();
  const cluster = new ChaosCluster(redis.url);
  t.after(async () => {
    await cluster.stop();
    await redis.stop();
  });
  await cluster.startNode('one');
  const hub = await cluster.startHeadend('hub-a', 50);
  await cluster.everyoneProbed(10_000);
  await cluster.startNode('two');
  await hub.agent!.stop();
  await cluster.nodes.get('one')!.stop('SIGKILL');
  hub.responder.kill(4, 0);
  await sleep(2 * DETECTION_MS);
  assert.deepEqual(await cluster.counters('two'), [], 'a shard without its agent');
  await cluster.startAgent(hub);
  await eventually('the dead one is found', DETECTION_MS + 8_000, () => cluster.deadOf(hub).length === 1);
  await cluster.everyoneProbed(15_000);
  assert.deepEqual(cluster.deadOf(hub), ['spoke-4']);
});
