import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { PeerEventKind, PeerEventSchema } from '../../../../proto/gen/dpd/v1/operator_pb.js';
import { shardKeys } from '../../../../services/store/keys.ts';
import { HISTORY, readPeerHistory } from '../../../../services/store/shard/peer-history.ts';
import { ShardStore } from '../../../../services/store/shard/shard-store.ts';
import { FencedError } from '../../../../workers/base/errors.ts';
import { privateRedis } from '../../../private-redis.ts';
import { TEST_MAC } from '../../../test-mac.ts';

const ID = { headend: 'hub', shard: 1 };
const NO_REFUSAL = () => assert.fail('a record was refused');

const event = (peerId: string, n: number) => ({
  peerId,
  // Of every length around those where the length takes one more byte.
  event: create(PeerEventSchema, { atUnixMs: BigInt(n), kind: PeerEventKind.DEAD, detail: 'x'.repeat(n * 5) }),
});

test('of each peer the latest events are kept, of a shard the latest peers', async (t) => {
  const redis = await privateRedis(t);
  const context = { redis, node: 'n', refused: NO_REFUSAL, replicated: undefined, mac: TEST_MAC };
  const store = await ShardStore.take(context, ID);
  const most = HISTORY.events + 8;
  for (let n = 0; n < most; n++) await store.noteEvents([event('spoke-1', n), event('spöke 2', n)], 1_000 + n);
  for (const peer of ['spoke-1', 'spöke 2']) {
    const events = await readPeerHistory(redis, 'hub', 2, peer, NO_REFUSAL);
    assert.deepEqual(
      events.map(({ atUnixMs }) => Number(atUnixMs)),
      Array.from({ length: HISTORY.events }, (_, n) => n + 8),
    );
    assert.equal(events.at(-1)!.detail.length, (most - 1) * 5);
  }
  assert.deepEqual(await readPeerHistory(redis, 'hub', 2, 'nobody', NO_REFUSAL), []);
  const size = await redis.memory('USAGE', shardKeys(ID).history, 'SAMPLES', 0);
  t.diagnostic(`${size} bytes for two peers`);
  for (let n = 0; n < HISTORY.peers; n += 500)
    await store.noteEvents(
      Array.from({ length: 500 }, (_, k) => event(`new-${n + k}`, 1)),
      5_000,
    );
  assert.equal(await redis.hlen(shardKeys(ID).history), HISTORY.peers);
  assert.deepEqual(await readPeerHistory(redis, 'hub', 2, 'spoke-1', NO_REFUSAL), [], 'the oldest peer is still there');
});

test('a damaged history is told of and left out; a former owner notes nothing', async (t) => {
  const redis = await privateRedis(t);
  const context = { redis, node: 'n', refused: NO_REFUSAL, replicated: undefined, mac: TEST_MAC };
  const former = await ShardStore.take(context, ID);
  await ShardStore.take(context, ID);
  await assert.rejects(former.noteEvents([event('spoke-1', 1)], 1), FencedError);
  const { history } = shardKeys(ID);
  await redis.hset(history, 'spoke-1', Buffer.from([10, 200, 1]));
  const refused: string[] = [];
  const events = await readPeerHistory(redis, 'hub', 2, 'spoke-1', (error) => refused.push(error.message));
  assert.deepEqual(events, []);
  assert.equal(refused.length, 1);
});
