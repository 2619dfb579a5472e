import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RedisOptions } from 'ioredis';
import { type ClusterMessage, joinBus, readMessage } from '../../../../services/store/cluster/bus.ts';
import { BUS } from '../../../../services/store/keys.ts';
import { eventually } from '../../../eventually.ts';
import { privateRedis } from '../../../private-redis.ts';
import { FOREIGN_MAC, TEST_MAC } from '../../../test-mac.ts';

const LOOK: ClusterMessage = { type: 'look', headend: 'hub', shard: 3 };
const MESSAGES: readonly ClusterMessage[] = [
  LOOK,
  {
    type: 'yield',
    headend: 'hub',
    shard: 0,
    epoch: '1800000000000',
    to: 'node-2',
    claim: { instance: 'x', takeOver: true },
  },
  { type: 'kept', headend: 'hub', shard: 0, epoch: '1800000000000', address: '192.0.2.1:7' },
  { type: 'acknowledged', headend: 'hub', shard: 255, verdictId: 'a.1', outcome: 'CLEARED' },
];
const JUNK = [
  '',
  'junk',
  'null',
  '7',
  '[]',
  '{}',
  '{"type":"look"}',
  '{"type":"look","headend":"hub","shard":256}',
  '{"type":"look","headend":"hub","shard":-1}',
  '{"type":"look","headend":"no/slash","shard":0}',
  '{"type":"yield","headend":"hub","shard":0,"epoch":7,"to":"x"}',
  '{"type":"yield","headend":"hub","shard":0,"epoch":"7","to":"x"}',
  '{"type":"yield","headend":"hub","shard":0,"epoch":"7","to":"x","claim":{"instance":"x"}}',
  '{"type":"kept","headend":"hub","shard":0,"epoch":"7"}',
  '{"type":"acknowledged","headend":"hub","shard":0,"verdictId":"a"}',
  '{"type":"toString","headend":"hub","shard":0}',
  JSON.stringify({ ...LOOK, more: 'x'.repeat(2_000) }),
];

test('what nodes say is read as it was said; all else is refused', () => {
  const read = (text: string) => readMessage(TEST_MAC.sealText(BUS, text), TEST_MAC);
  for (const message of MESSAGES) assert.deepEqual(read(JSON.stringify(message)), message);
  for (const text of JUNK) assert(read(text) instanceof Error, text);
});

test('junk on the channel is dropped, and what no node sent; and those who speak are heard on', async (t) => {
  const redis = await privateRedis(t);
  const { path } = redis.options as RedisOptions;
  const heard: ClusterMessage[] = [];
  const refused: string[] = [];
  const bus = await joinBus(
    { redis, url: `unix:${path}`, mac: TEST_MAC },
    (message) => heard.push(message),
    (reason) => refused.push(reason),
  );
  t.after(() => bus.close());
  const said = JSON.stringify({ ...LOOK, shard: 4 });
  const forged = [...JUNK, said, FOREIGN_MAC.sealText(BUS, said), TEST_MAC.sealText('member a', said)];
  for (const text of forged) await redis.publish(BUS, text);
  await redis.publish(BUS, Buffer.of(0xff, 0x00, 0x80));
  bus.publish(LOOK);
  await eventually('the message is heard', 5_000, () => heard.length > 0);
  assert.deepEqual(heard, [LOOK]);
  assert.equal(refused.length, forged.length + 1);
  assert(refused.every((reason) => reason.startsWith('dpd:bus: ')));
});
