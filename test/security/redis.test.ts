import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action, VerdictSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { VerdictService, type WatchVerdictsResponse } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import type { ApiClient } from '../../services/api/grpc/client.ts';
import { BUS, NODES, shardKeys } from '../../services/store/keys.ts';
import { RecordMac } from '../../services/store/record-mac.ts';
import { connectRedis } from '../../services/store/redis/redis.ts';
import { VerdictSeal, writeVerdict } from '../../services/store/shard/stored-verdict.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, HEADEND, Rig, SHARDS } from '../integration/rig.ts';

/** Ids of the verdicts that a watcher gets. */
function watched(client: ApiClient, headend: string): { readonly ids: string[]; cancel(): void } {
  const ids: string[] = [];
  const call = client.watch(VerdictService.method.watchVerdicts, { headend });
  call.on('data', ({ verdicts }: WatchVerdictsResponse) => ids.push(...verdicts.map(({ id }) => id)));
  call.on('error', () => {});
  return { ids, cancel: () => call.cancel() };
}

const SPOKES = 20;
/** Longer than a shard takes to look for verdicts that wait, ms. */
const LOOK_MS = 6_000;

test('whoever can write to Redis, but has no key, tears nobody down, and no node listens to him', async (t) => {
  const rig = await Rig.start({ spokes: SPOKES, nodeEnv: { LOG_LEVEL: 'info' } });
  t.after(() => rig.stop());
  await rig.startAgent();
  const redis = await connectRedis(rig.redisUrl);
  t.after(() => redis.disconnect());
  const seen = watched(rig.client, HEADEND);
  t.after(() => seen.cancel());

  const guessed = new RecordMac([Buffer.alloc(32, 1)]);
  for (let spoke = 0; spoke < SPOKES; spoke++) {
    const sa = rig.sa(spoke);
    const shard = Number(sa.id!.responderSpi % BigInt(SHARDS));
    const spi = [sa.id!.initiatorSpi, sa.id!.responderSpi].map((half) => half.toString(16).padStart(16, '0')).join('');
    const id = `${spi}.${Date.now()}.0`;
    const verdict = { id, headend: HEADEND, shard, sa: sa.id!, peerId: sa.peerId, action: Action.CLEAR };
    const message = writeVerdict(
      create(VerdictSchema, { ...verdict, endpoints: sa.endpoints, deadEndpoint: 0, nextEndpoint: 0 }),
    );
    // As the release before had it, and as one who knows the form would make it.
    const record = spoke % 2 === 0 ? message : new VerdictSeal(guessed, { headend: HEADEND, shard }).seal(message);
    const keys = shardKeys({ headend: HEADEND, shard });
    await redis.hset(keys.unacked, id, record);
    await redis.hset(keys.failover, `${id}1`, record);
    await redis.zadd(keys.due, 0, `${id}1`, 0, id);
    await redis.xadd(keys.verdicts, '*', 'v', record);
    await redis.hset(keys.deadLetters, id, JSON.stringify({ attempts: 1, reason: 'x', givenUpUnix: 1, verdict: '' }));
  }
  const later = Date.now() + 3_600_000;
  const member = JSON.stringify({ address: '192.0.2.66:7600', draining: false, shards: 0, peers: 0 });
  await redis.hset(NODES, 'evil', `${later} ${member}`);
  await redis.hset(NODES, 'worse', `${later} ${guessed.sealText('member worse', member)}`);
  const { shards: before } = await rig.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
  for (const { shard, epoch } of before) {
    const claim = { instance: 'evil', takeOver: true };
    const said = JSON.stringify({ type: 'yield', headend: HEADEND, shard, epoch: String(epoch), to: 'evil', claim });
    for (const text of [said, guessed.sealText(BUS, said)]) await redis.publish(BUS, text);
  }

  await sleep(LOOK_MS);
  assert.deepEqual(rig.verdicts, []);
  assert.deepEqual(seen.ids, []);
  const { members, shards } = await rig.client.unary(OperatorService.method.getClusterState, {});
  assert.deepEqual(
    members.map(({ id }) => id),
    ['rig-node'],
  );
  assert(shards.every(({ node }) => node === 'rig-node'));
  const { shards: after } = await rig.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
  assert.deepEqual(
    after.map(({ epoch }) => epoch),
    before.map(({ epoch }) => epoch),
  );
  const letters = await rig.client.unary(OperatorService.method.listDeadLetters, { headend: HEADEND });
  assert.equal(letters.total, 0);
  for (const source of ['redis', 'bus'])
    assert.match(rig.node.log, new RegExp(`"source":"${source}".*"msg":"input refused"`));

  // Beside all that, the dead are found, and only they.
  rig.responder.kill(3, 0);
  await eventually('the verdict', DETECTION_MS + 10_000, () => rig.verdicts.length > 0 && seen.ids.length > 0);
  assert.deepEqual(
    rig.verdicts.map(({ peerId }) => peerId),
    [rig.sa(3).peerId],
  );
  assert.deepEqual(
    seen.ids,
    rig.verdicts.map(({ id }) => id),
  );
});
