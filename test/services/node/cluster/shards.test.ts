import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { HelloSchema } from '../../../../proto/gen/dpd/v1/headend_pb.js';
import { type Clock, systemClock } from '../../../../services/base/clock.ts';
import { createLogger } from '../../../../services/base/log.ts';
import { ClusterNode } from '../../../../services/node/cluster/cluster-node.ts';
import { Sites } from '../../../../services/node/records/sites.ts';
import type { ShardStream } from '../../../../services/node/shard/hosted-shard.ts';
import type { ShardTaskHandle } from '../../../../services/node/shard/shard-thread.ts';
import { StormGuard } from '../../../../services/node/verdicts/storm-guard.ts';
import type { RedisClient } from '../../../../services/store/redis/redis.ts';
import { ShardStore } from '../../../../services/store/shard/shard-store.ts';
import { SuspicionTraces } from '../../../../services/telemetry/traces.ts';
import { Vault } from '../../../../workers/keys/vault.ts';
import { eventually } from '../../../eventually.ts';
import { NOTHING_REFUSED } from '../../../nothing-refused.ts';
import { privateRedis } from '../../../private-redis.ts';
import { TEST_MAC } from '../../../test-mac.ts';

const LOOK_MS = 5_000;
const SPI = '00000000000000010000000000000002';

/** A thread that knows nothing. */
function thread(): ShardTaskHandle {
  return {
    ready: Promise.resolve(4_500),
    done: new Promise(() => {}),
    send: () => {},
    ask: (async (type: string) => (/heckpoint/.test(type) ? { chunks: [], asOfMs: 0 } : [])) as ShardTaskHandle['ask'],
    seal: async (keys) => keys,
    resume: async () => ({ unreadable: [], opened: 0, sealed: 0 }),
    stop: async () => undefined,
    kill: () => {},
  };
}

const STREAM: ShardStream = {
  claim: { instance: 'x', takeOver: false },
  address: 'test',
  verdicts: () => {},
  delegatedProbes: () => {},
  members: () => {},
  drain: () => {},
  end: () => {},
};

/** A node whose looks for empty shards happen when the test says so: `later` moves its clock, and looks. */
async function nodeOn(t: TestContext, redis: RedisClient) {
  let ahead = 0;
  const looks: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock,
    now: () => systemClock.now() + ahead,
    every(ms, work) {
      if (ms !== LOOK_MS) return systemClock.every(ms, work);
      looks.push(work);
      return () => {};
    },
  };
  const node = await ClusterNode.start({
    store: { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
    joinBus: async () => ({ publish: () => {}, close: () => {} }),
    startTask: thread,
    clock,
    vault: new Vault([Buffer.alloc(32)]),
    traces: new SuspicionTraces(),
    log: createLogger('test', 'silent'),
    outages: createLogger('test', 'silent'),
    sites: new Sites(),
    storm: new StormGuard({ share: 0, count: 1, windowMs: 1_000 }, clock, () => ''),
    hold: { longestMs: 1_000, onExpiry: 'drop', releasePerSecond: 1, smallMs: 0 },
    wakeFailover: () => {},
    probeAddress: '127.0.0.1',
    probeAddress6: undefined,
    probeAdvertised: { v4: '', v6: '' },
    probePortBase: 0,
    maxPeers: 10,
    maxShards: 2,
    headendPeers: 10,
    defaultPolicy: undefined,
    loopback: true,
    advertised: () => 'test',
  });
  t.after(() => node.stop(0));
  return {
    node,
    hello: (headend: string) => node.openShard(create(HelloSchema, { headend, shard: 0, shards: 1 }), STREAM),
    later: (ms: number) => {
      ahead += ms;
      for (const look of looks) look();
    },
    hosted: () => node.shards.hosted().map(({ id }) => id.headend),
  };
}

test('a shard without SAs and without its headend is forgotten after a minute; others are not', async (t) => {
  const { hello, later, hosted } = await nodeOn(t, await privateRedis(t));
  const gone = await hello('gone');
  await hello('there');
  gone.detach(STREAM);
  later(0);
  later(59_000);
  assert.deepEqual(hosted(), ['gone', 'there']);
  // A headend that was back meanwhile has all the time again.
  await hello('gone');
  later(2_000);
  gone.detach(STREAM);
  later(0);
  later(59_000);
  assert.deepEqual(hosted(), ['gone', 'there']);
  later(2_000);
  await eventually('it is forgotten', 5_000, () => hosted().length === 1);
  assert.deepEqual(hosted(), ['there']);
  await hello('gone');
  assert.deepEqual(hosted(), ['there', 'gone']);
});

test('a node has no more shards than its threads have places, and says so', async (t) => {
  const { hello } = await nodeOn(t, await privateRedis(t));
  await hello('a');
  await hello('b');
  await assert.rejects(hello('c'), { code: status.RESOURCE_EXHAUSTED, message: '2 shards on this node already' });
  await hello('b');
});

test('a node that starts again takes up its shards that have SAs, and no empty ones', async (t) => {
  const redis = await privateRedis(t);
  const context = { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED };
  await redis.hset('dpd:headends', { full: '1', empty: '1' });
  await ShardStore.take(context, { headend: 'empty', shard: 0 });
  const store = await ShardStore.take(context, { headend: 'full', shard: 0 });
  await store.writeSas([{ spi: SPI, sa: Buffer.alloc(0), keys: undefined }], []);
  const { hosted } = await nodeOn(t, redis);
  assert.deepEqual(hosted(), ['full']);
});
