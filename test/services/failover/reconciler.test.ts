import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { VerdictSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { systemClock } from '../../../services/base/clock.ts';
import { createLogger } from '../../../services/base/log.ts';
import { FailoverReconciler } from '../../../services/failover/reconciler.ts';
import { markDead } from '../../../services/store/cluster/dead-endpoints.ts';
import { shardKeys } from '../../../services/store/keys.ts';
import type { RedisClient } from '../../../services/store/redis/redis.ts';
import { acknowledgeVerdicts } from '../../../services/store/shard/acknowledgement.ts';
import { FailoverStore } from '../../../services/store/shard/failover-store.ts';
import { ShardStore } from '../../../services/store/shard/shard-store.ts';
import { readVerdict, VerdictSeal, writeVerdict } from '../../../services/store/shard/stored-verdict.ts';
import { NOTHING_REFUSED } from '../../nothing-refused.ts';
import { privateRedis } from '../../private-redis.ts';
import { TEST_MAC } from '../../test-mac.ts';

const SHARD = { headend: 'hub', shard: 0 };
const ENDPOINTS = [1, 2, 3, 4].map((n) => ({ address: `192.0.2.${n}`, port: 4_500 }));
const COUNT = 450;

/** A shard whose verdicts have all been acknowledged: no endpoint came up. And a worker, whose commands are counted. */
async function refused(t: TestContext, count: number, deadlineMs = 60_000) {
  const redis = await privateRedis(t);
  const shard = await ShardStore.take(
    { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
    SHARD,
  );
  const ids = Array.from({ length: count }, (_, n) => `${n}.0`);
  for (const id of ids) {
    const message = writeVerdict(create(VerdictSchema, { id, endpoints: ENDPOINTS, deadEndpoint: 0, nextEndpoint: 1 }));
    await shard.appendVerdicts([{ id, from: 0, to: message.length }], message, 60_000);
  }
  const acknowledge = (attempt: number, failed?: string) =>
    acknowledgeVerdicts(
      redis,
      SHARD,
      ids.map((verdictId) => ({ verdictId, attempt, failed })),
    );
  await acknowledge(0, 'refused');
  let commands = 0;
  const counted = new Proxy(redis, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        commands++;
        return (member as (...all: unknown[]) => unknown).apply(target, args);
      };
    },
  }) as RedisClient;
  let looks = 0;
  const told: string[] = [];
  const context = {
    redis: counted,
    mac: TEST_MAC,
    refused: (error: Error) => told.push(error.message),
    bus: { publish: () => looks++ },
    clock: systemClock,
    log: createLogger('test', 'silent'),
    limits: { deadlineMs },
  };
  return {
    redis,
    told,
    shard,
    acknowledge,
    store: new FailoverStore({ redis, mac: TEST_MAC }, SHARD),
    worker: () => new FailoverReconciler(context),
    commands: () => commands,
    looks: () => looks,
  };
}

test('many failovers take a step together; when their endpoints have come up, nothing is left to do', async (t) => {
  const { shard, acknowledge, worker, commands, looks } = await refused(t, COUNT);
  const reconciler = worker();
  const again = await reconciler.run(SHARD);
  assert.equal(reconciler.counters.advanced, COUNT);
  // Three steps of a reading, a look at dead endpoints, and a writing; then one reading that finds nothing.
  assert.equal(commands(), 10);
  assert.equal(looks(), 3);
  assert(again !== undefined && again <= 1_000, 'it was at work: it comes back soon');
  const waiting = await shard.listUnacked();
  assert.equal(waiting.size, COUNT);
  const [first] = await shard.readUnacked([{ name: '7.0/1', id: '7.0' }]);
  const { attempt, nextEndpoint } = readVerdict(first!.bytes);
  assert.deepEqual([attempt, nextEndpoint], [1, 2]);
  await acknowledge(1);
  assert.equal(await reconciler.run(SHARD), undefined);
});

test('two workers at once: each attempt begins once', async (t) => {
  const { worker, shard } = await refused(t, COUNT);
  const workers = [worker(), worker()];
  await Promise.all(workers.map((one) => one.run(SHARD)));
  assert.equal(
    workers.reduce((sum, { counters }) => sum + counters.advanced, 0),
    COUNT,
  );
  assert([...(await shard.listUnacked()).keys()].every((name) => name.endsWith('/1')));
});

test('an endpoint that is known to be dead is tried last', async (t) => {
  const { redis, shard, worker } = await refused(t, 1);
  await markDead(redis, [ENDPOINTS[2]!], systemClock.wall());
  await worker().run(SHARD);
  const [verdict] = await shard.readUnacked([{ name: '0.0/1', id: '0.0' }]);
  assert.equal(readVerdict(verdict!.bytes).nextEndpoint, 3, 'the second failed, the third is dead');
});

test('out of time: a dead letter that says why, and nothing else', async (t) => {
  const { store, worker } = await refused(t, 3, -1);
  const reconciler = worker();
  assert.equal(await reconciler.run(SHARD), undefined);
  assert.equal(reconciler.counters.givenUp, 3);
  const letters = [...(await store.deadLetters(NOTHING_REFUSED)).values()];
  assert.equal(letters.length, 3);
  assert.equal(letters[0]!.reason, 'no endpoint came up in 1 attempts; the last: refused');
});

test('a failover that cannot be read is set aside; those behind it get their next attempt', async (t) => {
  const { redis, worker, told } = await refused(t, 6);
  const keys = shardKeys(SHARD);
  await redis.hset(keys.failover, {
    '0.0': 'no verdict',
    '1.0': new VerdictSeal(TEST_MAC, SHARD).seal(writeVerdict(create(VerdictSchema, { id: '1.0' }))),
    '5.0': writeVerdict(create(VerdictSchema, { id: '5.0', endpoints: ENDPOINTS })),
  });
  await redis.hset(keys.progress, { '2.0': '[]', '3.0': '{"attempt":-1}' });
  const reconciler = worker();
  await reconciler.run(SHARD);
  assert.equal(reconciler.counters.advanced, 1);
  assert.deepEqual(await redis.zrange(keys.due, '0', '-1'), ['4.0']);
  assert.equal(told.length, 5);
  assert(told.every((reason) => reason.startsWith(`${keys.due}: failover `)));
});
