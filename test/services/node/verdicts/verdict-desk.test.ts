import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary } from '@bufbuild/protobuf';
import { VerdictsSchema } from '../../../../proto/gen/dpd/v1/headend_pb.js';
import { VerdictSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { systemClock } from '../../../../services/base/clock.ts';
import { createLogger } from '../../../../services/base/log.ts';
import { ShardRecords } from '../../../../services/node/records/records.ts';
import { StormGuard } from '../../../../services/node/verdicts/storm-guard.ts';
import { VerdictDesk } from '../../../../services/node/verdicts/verdict-desk.ts';
import { ShardStore } from '../../../../services/store/shard/shard-store.ts';
import { writeVerdict } from '../../../../services/store/shard/stored-verdict.ts';
import { SuspicionTraces } from '../../../../services/telemetry/traces.ts';
import { NOTHING_REFUSED } from '../../../nothing-refused.ts';
import { privateRedis } from '../../../private-redis.ts';
import { TEST_MAC } from '../../../test-mac.ts';

const SHARD = { headend: 'hub', shard: 0 };

test('a verdict of a former owner comes once on each stream, and again if its answer was lost, but not if it is under way', async (t) => {
  const redis = await privateRedis(t);
  const store = await ShardStore.take(
    { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
    SHARD,
  );
  const ids = ['a.0', 'b.0'];
  const messages = ids.map((id) => writeVerdict(create(VerdictSchema, { id })));
  const length = messages[0]!.length;
  const verdicts = ids.map((id, n) => ({ id, from: n * length, to: (n + 1) * length }));
  await store.appendVerdicts(verdicts, Buffer.concat(messages), 1_000);
  let nowMs = 0;
  const clock = { ...systemClock, now: () => nowMs };
  const delivered: string[] = [];
  const records = new ShardRecords();
  const desk = new VerdictDesk(
    {
      id: SHARD,
      store,
      redis,
      clock,
      traces: new SuspicionTraces(),
      log: createLogger('test', 'silent'),
      outages: createLogger('test', 'silent'),
      storm: new StormGuard({ share: 0, count: 1, windowMs: 1_000 }, clock, () => ''),
      hold: { longestMs: 1_000, onExpiry: 'drop', releasePerSecond: 1, smallMs: 0 },
    },
    {
      records: () => records,
      hold: () => {},
      endHold: () => {},
      deliver: (bytes) => delivered.push(...fromBinary(VerdictsSchema, bytes).verdicts.map(({ id }) => id)),
      logged: () => {},
      fenced: () => assert.fail('fenced'),
    },
  );
  /** The deliveries of this moment, although two turns run at once. */
  const at = async (ms: number) => {
    nowMs = ms;
    delivered.length = 0;
    await Promise.all([desk.deliverAgain(), desk.deliverAgain()]);
    return delivered.sort();
  };

  assert.deepEqual(await at(0), ids);
  assert.deepEqual(await at(9_999), []);
  assert.deepEqual(await at(10_000), ids);
  desk.underWay('a.0', 0);
  assert.deepEqual(await at(30_000), ['b.0']);
  desk.answerLost('a.0', 0);
  assert.deepEqual(await at(31_000), ['a.0']);
  desk.newStream();
  assert.deepEqual(await at(32_000), ids);
});
