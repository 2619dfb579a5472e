import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { VerdictSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { shardKeys } from '../../../../services/store/keys.ts';
import { RecordMac } from '../../../../services/store/record-mac.ts';
import type { RedisClient } from '../../../../services/store/redis/redis.ts';
import { FailoverStore } from '../../../../services/store/shard/failover-store.ts';
import { type MacCursor, ShardStore } from '../../../../services/store/shard/shard-store.ts';
import { VerdictSeal, writeVerdict } from '../../../../services/store/shard/stored-verdict.ts';
import { LogPosition, readVerdicts } from '../../../../services/store/shard/verdict-log.ts';
import { FencedError, LostWritesError } from '../../../../workers/base/errors.ts';
import { ROW_LENGTH } from '../../../../workers/takeover/checkpoint.ts';
import { NOTHING_REFUSED } from '../../../nothing-refused.ts';
import { privateRedis } from '../../../private-redis.ts';
import { FOREIGN_MAC, TEST_MAC } from '../../../test-mac.ts';

const SHARD = { headend: 'hub', shard: 0 };
const HOUR_MS = 3_600_000;

/** A store on its own Redis. A write with a preset answer does not reach this Redis, as if it went to a server that is lost. */
async function answeredByTest(t: TestContext) {
  const redis = await privateRedis(t);
  let answer: Promise<unknown> | undefined;
  const client = {
    eval: (...command: Parameters<RedisClient['eval']>) => answer ?? redis.eval(...command),
  } as unknown as RedisClient;
  const context = { redis: client, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED };
  const store = await ShardStore.take(context, SHARD);
  const write = (of?: Promise<unknown>) => {
    answer = of;
    const written = store.writeSas([{ spi: 'a'.repeat(32), sa: Buffer.from('sa'), keys: undefined }], []);
    answer = undefined;
    return written;
  };
  return { redis, store, write };
}

test('whoever takes a shard is told since when nobody can tell of it', async (t) => {
  const redis = await privateRedis(t);
  const keys = shardKeys(SHARD);
  const take = () =>
    ShardStore.take({ redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED }, SHARD);
  const near = (ms: number, wanted: number) => assert(ms >= wanted && ms < wanted + 5_000, `${ms} ms, not ${wanted}`);

  // Nobody had it before: from its taking on.
  const first = await take();
  near((await first.readCheckpoint()).ageMs, 0);
  await redis.hset(keys.checkpoint, { taken: Date.now() - HOUR_MS });
  near((await (await take()).readCheckpoint()).ageMs, HOUR_MS);
  // From the last checkpoint on, as of when it tells everything, whenever it was written.
  const second = await take();
  const row = { index: 3, bytes: new Uint8Array(2 * ROW_LENGTH).fill(7) };
  await second.writeCheckpoint([row], { unix: 77, redisUnix: Date.now() - 60_000 }, true);
  const { ageMs, atUnix, chunks } = await (await take()).readCheckpoint();
  near(ageMs, 60_000);
  assert.equal(atUnix, 77);
  assert.deepEqual(
    chunks.map(({ epoch, bytes }) => [epoch, [...bytes]]),
    [[second.epoch, [...row.bytes]]],
  );
});

test('a lease is taken from whoever holds it, under a higher epoch, and fences what he writes', async (t) => {
  const redis = await privateRedis(t);
  const takenBy = (node: string) =>
    ShardStore.take({ redis, node, replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED }, SHARD);
  const first = await takenBy('a');
  await first.renew();
  const second = await takenBy('b');
  assert(second.epoch > first.epoch);
  await assert.rejects(first.renew(), FencedError);
  await assert.rejects(first.writeSas([], ['a'.repeat(32)]), FencedError);
  await assert.rejects(first.retake(), FencedError);
  assert(Math.abs((await second.renew()) - Date.now()) < 1_000);
  // A lease given back has no owner, and the former owner may take it again.
  await second.release();
  assert.equal(await redis.hget(shardKeys(SHARD).lease, 'until'), '0');
  await second.retake();
});

test('who takes the lease anew is told whether Redis has all that was written before', async (t) => {
  const { redis, store, write } = await answeredByTest(t);
  const lost = async () => (await store.retake()).lost;

  assert.equal(await lost(), false, 'nothing was written');
  await write();
  await write();
  assert.equal(await lost(), false);
  await write();
  await write();
  await redis.hset(shardKeys(SHARD).lease, { written: 1 });
  assert.equal(await lost(), true);
  assert.equal(await lost(), false);

  // The server that takes it is replaced by one that does not have it.
  const former = Promise.withResolvers<unknown>();
  const written = write(former.promise);
  assert.equal(await lost(), true, 'whose answer is on the way');
  former.resolve(1);
  await written;
  await write();
  assert.equal(await lost(), false);

  await redis.flushall();
  assert.equal(await lost(), true, 'the lease too, under which nothing had been written yet');
});

test('a write that Redis loses while its answer is on the way is not hidden by the next', async (t) => {
  const { store, write } = await answeredByTest(t);

  await write();
  await assert.rejects(write(Promise.reject(new Error('OOM'))), /OOM/);
  await write();

  // The server that takes it is replaced by one that does not have it.
  const former = Promise.withResolvers<unknown>();
  const lost = write(former.promise);
  await assert.rejects(write(), LostWritesError);
  former.resolve(1);
  await lost;
  await assert.rejects(store.renew(), LostWritesError);
  await write();
  await store.renew();
});

test('an SA gets one verdict: not another later, nor in the same batch', async (t) => {
  const redis = await privateRedis(t);
  const store = await ShardStore.take(
    { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
    SHARD,
  );
  const append = (...ids: string[]) =>
    store.appendVerdicts(
      ids.map((id, n) => ({ id, from: n, to: n + 1 })),
      Buffer.from('v'.repeat(ids.length)),
      0,
    );
  await append('spi1.1', 'spi2.1', 'spi2.2');
  await append('spi1.2', 'spi3.1');
  assert.deepEqual(Object.keys(await redis.hgetall(shardKeys(SHARD).unacked)).sort(), ['spi1.1', 'spi2.1', 'spi3.1']);
});

test('what is none of a shard’s is passed over and named by its key; the rest is read', async (t) => {
  const redis = await privateRedis(t);
  const keys = shardKeys(SHARD);
  const refused: string[] = [];
  const context = {
    redis,
    node: 'node',
    replicated: undefined,
    mac: TEST_MAC,
    refused: (error: Error) => refused.push(error.message),
  };
  // Invalid epochs, or the highest numbers, block no owner.
  await redis.hset(keys.lease, { epoch: 'x', written: 'y', node: 'n', until: 'z' });
  await ShardStore.take(context, SHARD);
  await redis.hset(keys.lease, { epoch: '9e99' });
  const store = await ShardStore.take(context, SHARD);
  const now = Date.now();
  assert(Math.abs(store.epoch - now) < 60_000, `epoch ${store.epoch}`);
  const spi = 'a'.repeat(32);
  await store.writeSas([{ spi, sa: Buffer.from('sa'), keys: undefined }], []);
  await redis.hset(keys.sas, { junk: '', ['A~'.repeat(16)]: 'x' });
  await redis.hset(keys.checkpoint, { '1:0': Buffer.alloc(ROW_LENGTH), '1:1': 'short', 'x:y': '', taken: 'long ago' });
  await redis.hset(keys.translated, {
    [spi]: `${2 ** 30}:7`,
    ['b'.repeat(32)]: '1:2',
    x: 'y',
    ['c'.repeat(32)]: '1e99:-1',
  });
  const verdict = writeVerdict(create(VerdictSchema, { id: 'a.1' }));
  const elsewhere = { headend: SHARD.headend, shard: SHARD.shard + 1 };
  await redis.hset(keys.unacked, {
    'a.1': 'no verdict',
    'a.2': verdict,
    'a.3': new VerdictSeal(FOREIGN_MAC, SHARD).seal(verdict),
    'a.4': new VerdictSeal(TEST_MAC, elsewhere).seal(verdict),
    'a.5': new VerdictSeal(TEST_MAC, SHARD).seal(verdict),
  });
  await redis.hset(keys.lease, { path: '{"ways":[{"canaryAddress":"x"}]}' });

  const pages = await Array.fromAsync(store.readSas());
  assert.deepEqual(
    pages.map(({ spis }) => String(spis)),
    [spi],
  );
  const former = await store.readCheckpoint();
  assert.deepEqual(
    former.chunks.map(({ epoch }) => epoch),
    [1],
  );
  assert.deepEqual([...former.translated], [[spi, { daemonId: 2 ** 30, id: 7 }]]);
  assert.equal(former.ageMs, 86_400_000);
  assert.equal(await store.readPath(), undefined);
  const waiting = [1, 2, 3, 4, 5].map((n) => ({ name: `a.${n}`, id: `a.${n}` }));
  assert.deepEqual(await store.readUnacked(waiting), [{ name: 'a.5', bytes: verdict }]);
  for (const [key, count] of [
    [keys.sas, 2],
    [keys.checkpoint, 3],
    [keys.translated, 3],
    [keys.unacked, 4],
    [keys.lease, 1],
  ] as const)
    assert.equal(refused.filter((reason) => reason.startsWith(`${key}: `)).length, count, refused.join('\n'));
});

test('of the log, watches get what nodes wrote, also beside what none did', async (t) => {
  const redis = await privateRedis(t);
  const store = await ShardStore.take(
    { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
    SHARD,
  );
  const message = (id: string) => writeVerdict(create(VerdictSchema, { id }));
  const [one, two] = [message('a.1'), message('b.1')];
  const parts = [
    { id: 'a.1', from: 0, to: one.length },
    { id: 'b.1', from: one.length, to: one.length + two.length },
  ];
  await store.appendVerdicts(parts, Buffer.concat([one, two]), 0);
  const { verdicts: log } = shardKeys(SHARD);
  const [good, foreign] = [TEST_MAC, FOREIGN_MAC].map((mac) => new VerdictSeal(mac, SHARD).seal(message('c.1')));
  const forged = [one, foreign!, Buffer.from('junk'), Buffer.alloc(16), Buffer.concat([foreign!, good!])];
  for (const entry of forged) await redis.xadd(log, '*', 'v', entry);

  const refused: string[] = [];
  const context = { redis, mac: TEST_MAC, refused: (error: Error) => refused.push(error.message) };
  const read = await Array.fromAsync(readVerdicts(context, SHARD.headend, 1, LogPosition.start(1)));
  assert.deepEqual(read, [Buffer.concat([one, two]), message('c.1')]);
  assert.equal(refused.length, forged.length);
  assert(refused.every((reason) => reason.startsWith(`${log}: entry `)));
});

test('after a rotation all that waits is made with the new key, and what was forged is left as it is', async (t) => {
  const redis = await privateRedis(t);
  const [old, young] = [1, 2].map((n) => Buffer.alloc(32, n)) as [Buffer, Buffer];
  const mac = new RecordMac([old]);
  const keys = shardKeys(SHARD);
  const store = await ShardStore.take(
    { redis, node: 'node', replicated: undefined, mac, refused: NOTHING_REFUSED },
    SHARD,
  );
  const messages = Array.from({ length: 1_200 }, (_, n) =>
    writeVerdict(create(VerdictSchema, { id: `${1_000 + n}.1` })),
  );
  const { length } = messages[0]!;
  const parts = messages.map((_, n) => ({ id: `${1_000 + n}.1`, from: n * length, to: (n + 1) * length }));
  for (const some of [parts.slice(0, 600), parts.slice(600)])
    await store.appendVerdicts(some, Buffer.concat(messages), 0);
  const failovers = new FailoverStore({ redis, mac }, SHARD);
  const letter = { attempts: 1, reason: 'x', givenUpUnix: 1, verdict: messages[0]!.toString('base64') };
  await failovers.giveUp([{ id: '1000.1', attempt: 0, failed: undefined, letter }]);
  await redis.hset(keys.failover, { z: new VerdictSeal(mac, SHARD).seal(messages[1]!), forged: 'forged' });

  mac.use([young, old]);
  /** A pass, to its end. */
  const pass = async () => {
    let sum = 0;
    let at: MacCursor | undefined;
    do {
      const { count, next } = await store.authenticateAnew(at);
      sum += count;
      at = next;
    } while (at);
    return sum;
  };
  assert.equal(await pass(), 1_202);
  assert.equal(await pass(), 0);
  mac.use([young]);
  const waiting = parts.map(({ id }) => ({ name: id, id }));
  assert.equal((await store.readUnacked(waiting)).length, messages.length);
  assert.deepEqual([...(await failovers.deadLetters(NOTHING_REFUSED))], [['1000.1', letter]]);
  assert.equal(await redis.hget(keys.failover, 'forged'), 'forged');
});

test('a record that changed since it was read is not replaced', async (t) => {
  const { redis, store, write } = await answeredByTest(t);
  await write();
  const spi = 'a'.repeat(32);
  const { sas } = shardKeys(SHARD);
  const records = async () => Object.values(await redis.hgetallBuffer(sas));
  const [stands] = (await records()) as [Buffer];
  await store.reseal([{ spi, from: Buffer.from('as it was'), to: Buffer.from('sealed anew') }]);
  assert.deepEqual(await records(), [stands]);
  await store.reseal([{ spi, from: stands, to: Buffer.from('sealed anew') }]);
  assert.deepEqual(await records(), [Buffer.from('sealed anew')]);
});
