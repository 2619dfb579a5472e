import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../eventually.ts';
import { ChaosCluster, DETECTION_MS } from './cluster.ts';
import type { Meddling } from './meddler.ts';
import { RedisServers } from './redis-servers.ts';

const SPOKES = 200;
const HOUR_MS = 3_600_000;
const MEDDLER = new URL('./meddler.ts', import.meta.url).href;

/** One node, so that no other takes over, and a way to disturb it. */
async function start(t: { after(done: () => Promise<void>): void }) {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-meddle-'));
  const order = join(directory, 'order.json');
  const redis = await RedisServers.single();
  const cluster = new ChaosCluster(redis.url, { NODE_OPTIONS: `--import=${MEDDLER}`, DPD_MEDDLE: order });
  t.after(async () => {
    await cluster.stop();
    await redis.stop();
    rmSync(directory, { recursive: true });
  });
  await cluster.startNode('one');
  const hub = await cluster.startHeadend('hub-a', SPOKES);
  await cluster.everyoneProbed(20_000);
  const node = cluster.nodes.get('one')!;
  const meddle = (meddling: Meddling) => {
    writeFileSync(order, JSON.stringify(meddling));
    node.process.kill('SIGUSR2');
  };
  return { cluster, hub, meddle };
}

test('threads blocked for 20 s: only the dead are found dead, and blind time is told', async (t) => {
  const { cluster, hub, meddle } = await start(t);
  meddle({ kind: 'block', ms: 20_000 });
  await sleep(1_000);
  const before = hub.responder.answered;
  await sleep(5_000);
  assert.equal(hub.responder.answered, before, 'the threads are not blocked');
  for (const spoke of [1, 2, 3]) hub.responder.kill(spoke, 0);
  await sleep(12_000);
  assert.equal(hub.verdicts.length, 0);
  await eventually('the dead are found', 2_000 + 2 * DETECTION_MS, () => cluster.deadOf(hub).length === 3);
  await cluster.everyoneProbed(20_000);
  assert.deepEqual(cluster.deadOf(hub), ['spoke-1', 'spoke-2', 'spoke-3']);
});

test('threads that hang are ended, and others watch their SAs: only the dead are found dead', async (t) => {
  const { cluster, hub, meddle } = await start(t);
  meddle({ kind: 'block', ms: HOUR_MS });
  await sleep(1_000);
  for (const spoke of [1, 2, 3]) hub.responder.kill(spoke, 0);
  // 30 s without an answer, and the wait for the one that does not come.
  await eventually('everyone is probed again', 60_000, () =>
    cluster.everyoneProbed(5_000).then(
      () => true,
      () => false,
    ),
  );
  await eventually('the dead are found', 2_000 + 2 * DETECTION_MS, () => cluster.deadOf(hub).length === 3);
  assert.deepEqual(cluster.deadOf(hub), ['spoke-1', 'spoke-2', 'spoke-3']);
});

test('clocks stepped by hours, and apart by hours when a shard moves: nobody is killed, and the dead are found in time', async (t) => {
  const { cluster, hub, meddle } = await start(t);
  meddle({ kind: 'step', ms: 2 * HOUR_MS });
  await sleep(2 * DETECTION_MS);
  assert.equal(hub.verdicts.length, 0);
  hub.responder.kill(8, 0);
  await eventually('the dead one is found', DETECTION_MS + 3_000, () => cluster.deadOf(hub).length === 1);
  // A node whose clock was never right takes its share, then all shards.
  await cluster.startNode('two', { DPD_MEDDLE_STEP_MS: String(-HOUR_MS) });
  await eventually('shards move', 20_000, async () => (await cluster.counters('two')).length === 2);
  await cluster.everyoneProbed(20_000);
  await cluster.nodes.get('one')!.stop('SIGKILL');
  hub.responder.kill(9, 0);
  const killedAt = Date.now();
  await eventually('the next one is found', DETECTION_MS + 10_000, () => cluster.deadOf(hub).length === 2);
  const told = Number(hub.verdicts.at(-1)!.history!.decidedUnixMs) - killedAt;
  assert(Math.abs(told + HOUR_MS) < 20_000, `its clock was right: decided ${told} ms after the death`);
  await cluster.everyoneProbed(20_000);
  assert.deepEqual(cluster.deadOf(hub), ['spoke-8', 'spoke-9']);
});
