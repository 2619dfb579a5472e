import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { eventually } from '../eventually.ts';
import { ChaosCluster, DETECTION_MS, peerIds, sasHeld } from './cluster.ts';
import { RedisServers } from './redis-servers.ts';

type After = { after(done: () => Promise<void>): void };

async function start(t: After, redis: RedisServers, spokes: number, env: Record<string, string> = {}) {
  const cluster = new ChaosCluster(redis.url, env);
  t.after(async () => {
    await cluster.stop();
    await redis.stop();
  });
  await Promise.all(['one', 'two', 'three'].map((name) => cluster.startNode(name)));
  const hub = await cluster.startHeadend('hub-a', spokes);
  await cluster.everyoneProbed(20_000);
  return { cluster, hub };
}

const names = (from: number, to: number) => peerIds(Array.from({ length: to - from }, (_, n) => from + n));

test('Sentinel: the master is killed under load of 1,000 verdicts, which wait for a replica: none forgotten, none false', async (t) => {
  const redis = await RedisServers.sentinel();
  const { cluster, hub } = await start(t, redis, 1_500, { DPD_REDIS_REPLICAS: '1' });
  for (let spoke = 0; spoke < 1_000; spoke++) hub.responder.kill(spoke, 0);
  await eventually('verdicts come', DETECTION_MS + 5_000, () => hub.verdicts.length > 50);
  await redis.servers[0]!.kill();
  // Its replica takes over, and has no replica itself: writes from now on do not count as written.
  await sleep(15_000);
  const delivered = cluster.deadOf(hub).length;
  assert(delivered < 1_000, `${delivered} delivered without a replica`);
  const answered = hub.responder.answered;
  await sleep(5_000);
  assert.equal(cluster.deadOf(hub).length, delivered, 'a verdict was delivered that no replica had');
  assert(hub.responder.answered - answered > 500, 'probing stood still without a replica');
  await redis.servers[0]!.start();
  await eventually('all are delivered', 60_000, () => cluster.deadOf(hub).length >= 1_000);
  await cluster.everyoneProbed(60_000).catch(() => {});
  await sleep(2 * DETECTION_MS);
  assert.deepEqual(cluster.deadOf(hub), names(0, 1_000));
  for (const [name, node] of cluster.nodes) assert.doesNotMatch(node.log, /shard lost/, name);
});

test('Cluster: a master is killed under load of 1,000 verdicts: every one is delivered, none forgotten, none false', async (t) => {
  const redis = await RedisServers.cluster();
  const { cluster, hub } = await start(t, redis, 1_500);
  for (let spoke = 0; spoke < 1_000; spoke++) hub.responder.kill(spoke, 0);
  await eventually('verdicts come', DETECTION_MS + 5_000, () => hub.verdicts.length > 50);
  await redis.servers[0]!.kill();
  await eventually('all are delivered', 60_000, () => cluster.deadOf(hub).length >= 1_000);
  await sleep(2 * DETECTION_MS);
  assert.deepEqual(cluster.deadOf(hub), names(0, 1_000));
});

test('Redis gone for 60 s: no false verdict, and all verdicts afterwards, in order', async (t) => {
  const redis = await RedisServers.single();
  const { cluster, hub } = await start(t, redis, 300);
  await redis.servers[0]!.kill();
  for (let spoke = 0; spoke < 100; spoke++) {
    hub.responder.kill(spoke, 0);
    await sleep(50);
  }
  const answered = hub.responder.answered;
  await sleep(55_000);
  assert(hub.responder.answered - answered > 200 * 10, 'probing stood still without Redis');
  assert.equal(hub.verdicts.length, 0, 'a verdict was delivered before it was in the log');
  await redis.servers[0]!.start();
  await eventually('all are delivered', 30_000, () => cluster.deadOf(hub).length >= 100);
  await cluster.everyoneProbed(20_000).catch(() => {});
  await sleep(2 * DETECTION_MS);
  assert.deepEqual(cluster.deadOf(hub), names(0, 100));
  for (let shard = 0; shard < 4; shard++) {
    const decided = hub.verdicts
      .filter((verdict, n, all) => verdict.shard === shard && all.findIndex(({ id }) => id === verdict.id) === n)
      .map(({ history }) => Number(history!.decidedUnixMs));
    assert.deepEqual(
      decided,
      decided.toSorted((a, b) => a - b),
      'out of order',
    );
  }
});

test('Redis restarted empty: everything is written again, and a node may die after that', async (t) => {
  const redis = await RedisServers.single();
  const { cluster, hub } = await start(t, redis, 200);
  await redis.servers[0]!.command('FLUSHALL');
  const held = () => sasHeld(redis.servers[0]!, 'hub-a');
  await eventually('all SAs and keys are back', 15_000, async () => (await held()) === 200);
  await cluster.everyoneProbed(15_000);
  await cluster.nodes.get('one')!.stop('SIGKILL');
  await cluster.everyoneProbed(25_000);
  hub.responder.kill(1, 0);
  await eventually('the dead one is found', DETECTION_MS + 8_000, () => hub.verdicts.length >= 1);
  assert.deepEqual(cluster.deadOf(hub), ['spoke-1']);
});

test('Redis full, or its disk: liveness goes on, verdicts wait, nobody is killed', async (t) => {
  const redis = await RedisServers.single();
  const { cluster, hub } = await start(t, redis, 200);
  const [server] = redis.servers;
  await server!.command('CONFIG', 'SET', 'maxmemory', '1');
  for (const spoke of [1, 2, 3]) hub.responder.kill(spoke, 0);
  const answered = hub.responder.answered;
  await sleep(DETECTION_MS + 6_000);
  assert(hub.responder.answered - answered > 197 * 3, 'probing stood still');
  assert.equal(hub.verdicts.length, 0);
  const client = new ApiClient(plaintext(cluster.address('one')));
  const waiting = (await cluster.counters()).reduce((sum, { verdictsWaiting }) => sum + verdictsWaiting, 0);
  await client.unary(OperatorService.method.getClusterState, {});
  client.close();
  assert.equal(waiting, 3, 'waiting verdicts are not visible');
  await server!.command('CONFIG', 'SET', 'maxmemory', '0');
  await eventually('they come', 15_000, () => cluster.deadOf(hub).length === 3);
  await cluster.everyoneProbed(20_000);
  assert.deepEqual(cluster.deadOf(hub), names(1, 4));
});
