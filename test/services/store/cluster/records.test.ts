import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readHeadends, readShards, registerHeadend } from '../../../../services/store/cluster/directory.ts';
import { beat } from '../../../../services/store/cluster/members.ts';
import { HEADENDS, NODES, shardKeys } from '../../../../services/store/keys.ts';
import { readLease } from '../../../../services/store/shard/lease.ts';
import { privateRedis } from '../../../private-redis.ts';
import { FOREIGN_MAC, TEST_MAC } from '../../../test-mac.ts';

const MEMBER = { id: 'a', address: 'unix:/a', draining: false, shards: 1, peers: 2 };
const LATER = Date.now() + 3_600_000;

test('a node that cannot be one is passed over; the others know each other', async (t) => {
  const redis = await privateRedis(t);
  const refused: string[] = [];
  const context = { redis, mac: TEST_MAC, refused: (error: Error) => refused.push(error.message) };
  const { id: _, ...description } = MEMBER;
  const good = JSON.stringify(description);
  const at = (id: string, text: string) => ({ [id]: `${LATER} ${TEST_MAC.sealText(`member ${id}`, text)}` });
  await redis.hset(NODES, {
    none: 'junk',
    ...at('json', '{'),
    ...at('list', '[]'),
    ...at('text', '{"address":7,"draining":"no","shards":-1,"peers":1e300}'),
    ...at('no/name', good),
    'without-mac': `${LATER} ${good}`,
    foreign: `${LATER} ${FOREIGN_MAC.sealText('member foreign', good)}`,
    moved: `${LATER} ${TEST_MAC.sealText('member a', good)}`,
  });
  assert.deepEqual(await beat(context, MEMBER), [MEMBER]);
  assert.equal(refused.length, 7);
  assert(refused.every((reason) => reason.startsWith('dpd:nodes: ')));
  // A record without a time is removed.
  assert.equal(await redis.hexists(NODES, 'none'), 0);
});

test('what is no hash at the nodes’ key does not stop them from knowing each other', async (t) => {
  const redis = await privateRedis(t);
  const refused: string[] = [];
  await redis.set(NODES, 'junk');
  const context = { redis, mac: TEST_MAC, refused: (error: Error) => refused.push(error.message) };
  assert.deepEqual(await beat(context, MEMBER), [MEMBER]);
  assert.equal(refused.length, 1);
  assert.deepEqual(await beat(context, MEMBER), [MEMBER]);
  assert.equal(refused.length, 1);
});

test('a headend with shards that no headend has is passed over, and named', async (t) => {
  const redis = await privateRedis(t);
  const refused: string[] = [];
  const told = (error: Error) => refused.push(error.message);
  await registerHeadend(redis, 'hub', 2);
  await redis.hset(HEADENDS, { many: '1000000000', odd: '3', text: 'x', negative: '-4', 'no/name': '4' });
  assert.deepEqual([...(await readHeadends(redis, told))], [['hub', 2]]);
  assert.equal(refused.length, 5);
  assert.equal((await readShards(redis, () => {})).length, 2);
  await assert.rejects(registerHeadend(redis, 'many', 2), /dpd:headends: "many"/);
});

test('a lease that is none counts as none', async (t) => {
  const redis = await privateRedis(t);
  const id = { headend: 'hub', shard: 0 };
  const refused: string[] = [];
  for (const lease of [
    { epoch: 'x', node: 'a', until: '1' },
    { epoch: '1e9', node: 'a', until: '1' },
    { epoch: '7', node: 'no/name', until: '1' },
  ]) {
    await redis.hset(shardKeys(id).lease, lease);
    assert.equal(await readLease(redis, id, (error) => refused.push(error.message)), undefined);
  }
  assert.deepEqual(refused, Array(3).fill('dpd:{hub/0}:lease: is no lease'));
});
