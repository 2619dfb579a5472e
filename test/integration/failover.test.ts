import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action } from '../../proto/gen/dpd/v1/types_pb.js';
import { shardKeys } from '../../services/store/keys.ts';
import { connectRedis } from '../../services/store/redis/redis.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, Rig, SHARDS } from './rig.ts';

const POLICY = { action: Action.FAILOVER };

/** Failovers under way, over all shards. */
async function underWay(rig: Rig): Promise<number> {
  const redis = await connectRedis(rig.redisUrl);
  try {
    const counts = await Promise.all(
      Array.from({ length: SHARDS }, (_, shard) => redis.zcard(shardKeys({ headend: HEADEND, shard }).due)),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  } finally {
    redis.disconnect();
  }
}

test('an endpoint that does not come up is passed over; the failover is seen through as soon as one has', async (t) => {
  const tried: number[] = [];
  // Endpoint 1 comes up at the third attempt: 1 fails, then 0, the dead one, then 1 again.
  const rig = await Rig.start({ spokes: 20, policy: POLICY, comesUp: (_, n) => tried.push(n) > 2 });
  t.after(() => rig.stop());
  await rig.startAgent();
  rig.responder.kill(7, 0);
  await eventually('three attempts', DETECTION_MS + 8_000, () => tried.length === 3);
  assert.deepEqual(tried, [1, 0, 1]);
  const attempts = rig.verdicts.map(({ id, attempt, nextEndpoint }) => ({ id, attempt, nextEndpoint }));
  assert.deepEqual(
    attempts.map(({ attempt, nextEndpoint }) => [attempt, nextEndpoint]),
    [
      [0, 1],
      [1, 0],
      [2, 1],
    ],
  );
  assert.equal(new Set(attempts.map(({ id }) => id)).size, 1, 'an attempt has an id of its own');
  await eventually('seen through', 1_000, async () => (await underWay(rig)) === 0);
  await eventually('the SA that took over is watched', 5_000, async () => (await rig.count('peers')) === 20);
  assert.equal(rig.verdicts.length, 3);
});

test('no endpoint comes up: given up after its time, seen and replayed by an operator', async (t) => {
  let up = false;
  const rig = await Rig.start({
    spokes: 10,
    policy: POLICY,
    comesUp: (_, endpoint) => up && endpoint === 1,
    nodeEnv: { DPD_FAILOVER_DEADLINE_MS: '4000' },
  });
  t.after(() => rig.stop());
  await rig.startAgent();
  rig.responder.kill(3, 0);
  const letters = () => rig.client.unary(OperatorService.method.listDeadLetters, { headend: HEADEND });
  await eventually('given up', DETECTION_MS + 15_000, async () => (await letters()).total === 1);
  const [letter] = (await letters()).letters;
  assert.equal(letter!.peerId, 'spoke-3');
  assert.match(letter!.reason, /no endpoint came up/);
  assert.equal(await underWay(rig), 0);
  up = true;
  const { settled } = await rig.client.unary(OperatorService.method.settleDeadLetters, { headend: HEADEND });
  assert.equal(settled, 1);
  await eventually('the peer is back', 5_000, async () => (await rig.count('peers')) === 10);
  await eventually('seen through', 10_000, async () => (await underWay(rig)) === 0);
  assert.equal((await letters()).total, 0);
});

test('the worker dies in the middle: each failover happens, and none twice', async (t) => {
  const spokes = 60;
  const ups = new Map<string, number>();
  const rig = await Rig.start({
    spokes,
    policy: POLICY,
    comesUp: (sa, endpoint) => {
      // Every second one needs further attempts, which only a worker asks for.
      const tries = (ups.get(`${sa.peerId} tries`) ?? 0) + 1;
      ups.set(`${sa.peerId} tries`, tries);
      if (endpoint === 0 || (Number(sa.peerId.slice(6)) % 2 === 1 && tries === 1)) return false;
      ups.set(`${sa.peerId} ${endpoint}`, (ups.get(`${sa.peerId} ${endpoint}`) ?? 0) + 1);
      return true;
    },
  });
  t.after(() => rig.stop());
  await rig.startAgent();
  for (let spoke = 0; spoke < 30; spoke++) rig.responder.kill(spoke, 0);
  await eventually('some have failed over', DETECTION_MS + 5_000, () => rig.verdicts.length > 5);
  await rig.node.stop('SIGKILL');
  await rig.startNode();
  await eventually('all are back', DETECTION_MS + 20_000, async () => (await rig.count('alive')) === spokes);
  await eventually('all seen through', 20_000, async () => (await underWay(rig)) === 0);
  for (let spoke = 0; spoke < 30; spoke++) {
    const times = ups.get(`spoke-${spoke} 1`);
    assert.equal(times, 1, `spoke-${spoke} failed over ${times} times`);
  }
});
