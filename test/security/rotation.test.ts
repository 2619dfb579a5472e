import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { shardKeys } from '../../services/store/keys.ts';
import { connectRedis } from '../../services/store/redis/redis.ts';
import { Vault } from '../../workers/keys/vault.ts';
import { eventually } from '../eventually.ts';
import { HEADEND, Rig, SHARDS } from '../integration/rig.ts';

const SPOKES = 40;

test('the vault gets another key without a restart: all is sealed anew, nothing is lost, and the old key may go', async (t) => {
  const rig = await Rig.start({ spokes: SPOKES });
  t.after(() => rig.stop());
  await rig.startAgent();
  const file = join(rig.directory, 'data', 'vault.key');
  const old = readFileSync(file, 'utf8').trim();
  const young = randomBytes(32).toString('base64');
  const both = new Vault([young, old].map((key) => Buffer.from(key, 'base64')));
  const redis = await connectRedis(rig.redisUrl);
  t.after(() => redis.disconnect());
  /** Keys in Redis that are sealed with the young key, and all. */
  const sealed = async () => {
    const records: Buffer[] = [];
    for (let shard = 0; shard < SHARDS; shard++)
      records.push(...Object.values(await redis.hgetallBuffer(shardKeys({ headend: HEADEND, shard }).sas)));
    const keys = records.map((record) => record.subarray(2 + record.readUInt16BE(0)));
    return { anew: keys.filter((one) => both.isSealedAnew(one)).length, all: keys.length };
  };
  assert.deepEqual(await sealed(), { anew: 0, all: SPOKES });

  writeFileSync(file, `${young}\n${old}\n`);
  await eventually('all are sealed anew', 20_000, async () => (await sealed()).anew === SPOKES);
  await eventually('it is told', 10_000, () => {
    const told = rig.node.log.match(/all keys of the shard are sealed with the first key of the vault/g) ?? [];
    return told.length === SHARDS;
  });

  // The old key goes, and the node dies: the next one opens everything.
  writeFileSync(file, `${young}\n`);
  await rig.node.stop('SIGKILL');
  await rig.startNode();
  await eventually('everyone is asked again', 30_000, async () => {
    const { shards } = await rig.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
    const sum = (name: 'peers' | 'probesAnswered') => shards.reduce((total, shard) => total + Number(shard[name]), 0);
    return sum('peers') === SPOKES && sum('probesAnswered') >= SPOKES;
  });
  assert.equal(rig.verdicts.length, 0);
  for (const key of [old, young]) assert(!rig.logs.includes(key) && !rig.node.log.includes(key), 'a key in the log');
});
