import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { type Sa, SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { spiHex, spiPair } from '../../../../services/api/spi.ts';
import { systemClock } from '../../../../services/base/clock.ts';
import { createLogger } from '../../../../services/base/log.ts';
import { Sites } from '../../../../services/node/records/sites.ts';
import {
  HostedShard,
  type HostedShardContext,
  type ShardStream,
} from '../../../../services/node/shard/hosted-shard.ts';
import type { ShardEvent, ShardTaskHandle } from '../../../../services/node/shard/shard-thread.ts';
import { StormGuard } from '../../../../services/node/verdicts/storm-guard.ts';
import { HEADENDS, shardKeys } from '../../../../services/store/keys.ts';
import { SuspicionTraces } from '../../../../services/telemetry/traces.ts';
import { Vault } from '../../../../workers/keys/vault.ts';
import { State } from '../../../../workers/liveness/peers.ts';
import { readSa } from '../../../../workers/sa/sa-message.ts';
import { RecordCursor, type SaPage } from '../../../../workers/sa/sa-page.ts';
import { VerdictRows } from '../../../../workers/shard/verdict-rows.ts';
import { eventually } from '../../../eventually.ts';
import { NOTHING_REFUSED } from '../../../nothing-refused.ts';
import { privateRedis } from '../../../private-redis.ts';
import { TEST_MAC } from '../../../test-mac.ts';

/** As the host waits before it starts a thread again, ms. */
const RESTART_MS = 500;

/** A thread that takes what it is told, and dies when the test says so. */
class Thread {
  /** SPIs it knows, in order of arrival. */
  readonly spis: bigint[] = [];
  /** Times of the evidence that it received, ms. */
  readonly evidenceAt: number[] = [];
  /** Handles of SAs that it cannot watch. */
  unreadable: readonly number[] = [];
  /** Runs before it answers. */
  beforeAnswer: (type: string) => Promise<void> = async () => {};
  readonly #done = Promise.withResolvers<never>();
  #dies = false;
  /** Becomes ready when this is called. */
  readonly begin: () => void;
  readonly handle: ShardTaskHandle;
  /** Has the host hear something of it. */
  readonly tell: (event: ShardEvent) => void;

  constructor(tell: (event: ShardEvent) => void) {
    this.tell = tell;
    const ready = Promise.withResolvers<number>();
    this.begin = () => ready.resolve(4_500);
    this.#done.promise.catch(() => {});
    this.#done.promise.catch(ready.reject);
    ready.promise.catch(() => {});
    this.handle = {
      ready: ready.promise,
      done: this.#done.promise,
      send: (message) => {
        if (message.type === 'upsert') this.#note(message.page);
        if (message.type === 'evidence') this.evidenceAt.push(message.atMs);
      },
      ask: (async (type: string, handles: readonly number[] = []) => {
        await this.beforeAnswer(type);
        if (type === 'checkpoint' || type === 'wholeCheckpoint') return { chunks: [], asOfMs: 0 };
        return type === 'query' ? handles.map(() => ({ state: State.ALIVE })) : [];
      }) as ShardTaskHandle['ask'],
      seal: async (keys) => keys,
      resume: async (page) => {
        this.#note(page);
        if (this.#dies) {
          this.die();
          // A dead thread answers nothing.
          return new Promise(() => {});
        }
        return { unreadable: this.unreadable, opened: 0, sealed: 0 };
      },
      stop: async () => undefined,
      kill: () => {},
    };
  }

  /** It dies when it receives SAs from Redis. */
  dieWhenTold(): void {
    this.#dies = true;
  }

  die(): void {
    this.#done.reject(new Error('killed by the test'));
  }

  #note(page: SaPage): void {
    for (const cursor = new RecordCursor(page); cursor.next(); )
      this.spis.push(spiPair(readSa(cursor.reader, cursor.saEnd).spi).responderSpi);
  }
}

const sa = (responderSpi: bigint): Sa =>
  create(SaSchema, {
    id: { initiatorSpi: 1n, responderSpi },
    peerId: `peer-${responderSpi}`,
    ikeVersion: 2,
    endpoints: [{ address: '127.0.0.1', port: 4_500 }],
    policy: { intervalMs: 10_000, retryIntervalMs: 1_000, retries: 3 },
    revision: 1,
  });
const bytes = (sas: readonly Sa[]) => sas.map((item) => ({ sa: toBinary(SaSchema, item), keys: undefined }));

/** What a host needs, on a Redis of its own; and the threads that it starts. */
async function surroundings(t: TestContext): Promise<{ context: HostedShardContext; threads: Thread[] }> {
  const redis = await privateRedis(t);
  const threads: Thread[] = [];
  const context: HostedShardContext = {
    store: { redis, node: 'node', replicated: undefined, mac: TEST_MAC, refused: NOTHING_REFUSED },
    startTask: (_probe, tell) => {
      const thread = new Thread(tell);
      threads.push(thread);
      return thread.handle;
    },
    clock: systemClock,
    vault: new Vault([Buffer.alloc(32)]),
    traces: new SuspicionTraces(),
    log: createLogger('test', 'silent'),
    outages: createLogger('test', 'silent'),
    sites: new Sites(),
    storm: new StormGuard({ share: 0, count: 1, windowMs: 1_000 }, systemClock, () => ''),
    hold: { longestMs: 1_000, onExpiry: 'drop', releasePerSecond: 1, smallMs: 0 },
    wakeFailover: () => {},
    probe: { address: '127.0.0.1', address6: undefined, port: 0, shard: 0 },
    onLost: () => {},
  };
  return { context, threads };
}

const SHARD = { headend: 'hub', shard: 0 };

/** Opens the shard, on a thread that begins at once. @param unreadable handles that this one cannot watch */
async function openShard(
  context: HostedShardContext,
  threads: readonly Thread[],
  unreadable: readonly number[] = [],
): Promise<{ host: HostedShard; thread: Thread }> {
  const before = threads.length;
  const opening = HostedShard.open(context, SHARD, 1);
  await eventually('a thread is started', 2_000, () => threads.length > before);
  const thread = threads[before]!;
  thread.unreadable = unreadable;
  thread.begin();
  return { host: await opening, thread };
}

/** A headend's stream that notes why it ended. */
function streamTo(ended: string[]): ShardStream {
  return {
    claim: { instance: '', takeOver: false },
    address: '',
    verdicts: () => {},
    delegatedProbes: () => {},
    members: () => {},
    drain: () => {},
    end: (reason) => void ended.push(reason),
  };
}

test('while a thread is restarted its shard takes nothing new: the thread would not know what Redis has of it', async (t) => {
  const { context, threads } = await surroundings(t);
  const { host } = await openShard(context, threads);
  t.after(() => host.stop('the test is over'));
  const ended: string[] = [];
  await host.attach(streamTo(ended));
  const first = [sa(1n), sa(2n)];
  assert.deepEqual(await host.upsert(first, bytes(first)), [0, 1]);

  // One is on its way to Redis when the thread dies.
  const late = [sa(3n)];
  const under = host.upsert(late, bytes(late));
  threads[0]!.die();
  await assert.rejects(under, /thread of the shard died/);
  assert.deepEqual(ended, ['shard restarted']);
  await assert.rejects(host.upsert([sa(4n)], bytes([sa(4n)])), /thread of the shard died/);
  await assert.rejects(host.remove([first[0]!.id!]), /thread of the shard died/);
  let attached = false;
  const attaching = host.attach(streamTo(ended)).then(() => {
    attached = true;
  });
  await eventually('another thread is started', 2_000, () => threads.length === 2);
  assert.equal(attached, false, 'a headend joined before all SAs were there');
  assert.deepEqual(threads[1]!.spis, []);

  threads[1]!.begin();
  await attaching;
  // SAs that Redis had taken, and those that it had not been told to remove.
  assert.deepEqual(threads[1]!.spis.sort(), [2n, 3n, 4n]);
  const again = [sa(1n)];
  await host.upsert(again, bytes(again));
  assert.deepEqual(threads[1]!.spis.sort(), [1n, 2n, 3n, 4n]);
});

test('whoever hears that the shard is another’s, when its headend comes or registers, gives it up at once', async (t) => {
  const { context, threads } = await surroundings(t);
  const tries: ((host: HostedShard) => Promise<unknown>)[] = [
    (host) => host.attach(streamTo([])),
    (host) => host.upsert([sa(1n)], bytes([sa(1n)])),
    (host) => host.remove([sa(1n).id!]),
  ];
  for (const attempt of tries) {
    const lost: HostedShard[] = [];
    const { host } = await openShard({ ...context, onLost: (one) => lost.push(one) }, threads);
    await context.store.redis.hset(shardKeys(SHARD).lease, 'epoch', String(host.epoch + 1));
    await assert.rejects(attempt(host), /stale epoch|just moved/);
    assert.deepEqual(lost, [host]);
  }
});

test('a thread is told from when evidence is, which may wait for it', async (t) => {
  const { context, threads } = await surroundings(t);
  let now = 1_000_000;
  const clock = { ...systemClock, now: () => now };
  const { host, thread } = await openShard({ ...context, clock }, threads);
  t.after(() => host.stop('the test is over'));
  host.evidence([0], [], 200);
  now += 1_000;
  host.evidence([], [0], 0);
  assert.deepEqual(thread.evidenceAt, [999_800, 1_001_000]);
});

test('verdicts that are held when their thread dies are held no more: the next one has other handles', async (t) => {
  const { context, threads } = await surroundings(t);
  const storm = new StormGuard({ share: 0.1, count: 1, windowMs: 10_000 }, systemClock, () => '');
  const { host, thread } = await openShard({ ...context, storm }, threads);
  t.after(() => host.stop('the test is over'));
  await host.upsert([sa(1n)], bytes([sa(1n)]));
  const silent = (count: number) =>
    thread.tell({
      type: 'outcomes',
      outcomes: { well: new Uint32Array(1), silent: Uint32Array.of(count) },
    });
  // They only ever count up.
  silent(0);
  silent(10);
  const rows = new VerdictRows();
  rows.add({
    handle: 0,
    lastEvidenceUnix: 1,
    firstProbeUnix: 2,
    probesSent: 3,
    earliestUnix: 4,
    decidedUnix: 5,
    blindMs: 0,
    asked: 0,
  });
  thread.tell({ type: 'verdicts', rows: rows.drain() });
  const { held } = host.verdicts;
  assert.deepEqual([held.count, held.counters.held], [1, 1]);
  thread.die();
  await eventually('another thread is started', 2_000, () => threads.length === 2);
  assert.deepEqual([held.count, held.counters.dropped], [0, 1]);
});

test('a thread that dies while it is filled was none: the shard is not opened, or is tried again', async (t) => {
  const { context, threads } = await surroundings(t);
  const failing = HostedShard.open(context, SHARD, 1);
  await eventually('a thread is started', 2_000, () => threads.length === 1);
  threads[0]!.die();
  await assert.rejects(failing, /killed by the test/);
  await sleep(2 * RESTART_MS);
  assert.equal(threads.length, 1, 'what was not opened went on');

  const { host } = await openShard(context, threads);
  t.after(() => host.stop('the test is over'));
  const sas = [sa(1n), sa(2n)];
  await host.upsert(sas, bytes(sas));
  threads[1]!.die();
  await eventually('a third is started', 2_000, () => threads.length === 3);
  threads[2]!.dieWhenTold();
  threads[2]!.begin();
  await eventually('a fourth is started', 2_000, () => threads.length === 4);
  threads[3]!.begin();
  await host.attach(streamTo([]));
  assert.deepEqual(threads[3]!.spis.sort(), [1n, 2n]);
  assert.equal(host.records.set.count, 2);
  await sleep(2 * RESTART_MS);
  assert.equal(threads.length, 4);
});

test('a headend that comes while the thread dies waits until its SAs are known again', async (t) => {
  const { context, threads } = await surroundings(t);
  let gate: Promise<void> | undefined;
  const redis = new Proxy(context.store.redis, {
    get: (client, name) => {
      const value = Reflect.get(client, name, client);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) =>
        name === 'eval' && gate ? gate.then(() => value.apply(client, args)) : value.apply(client, args);
    },
  });
  const { host } = await openShard({ ...context, store: { ...context.store, redis } }, threads);
  t.after(() => host.stop('the test is over'));
  await host.attach(streamTo([]));
  await host.upsert([sa(1n)], bytes([sa(1n)]));

  const released = Promise.withResolvers<void>();
  gate = released.promise;
  let attached = false;
  const attaching = host.attach(streamTo([])).then(() => {
    attached = true;
  });
  threads[0]!.die();
  gate = undefined;
  released.resolve();
  await eventually('another thread is started', 2_000, () => threads.length === 2);
  assert.equal(attached, false, 'it was told of no SA');
  threads[1]!.begin();
  await attaching;
  assert.equal(host.records.set.count, 1);
});

test('what Redis lost is written again before it takes anything new: an SA without its message id would pass for new', async (t) => {
  const { context, threads } = await surroundings(t);
  const { redis } = context.store;
  const { host } = await openShard(context, threads);
  t.after(() => host.stop('the test is over'));
  const sas = [sa(1n), sa(2n)];
  await host.upsert(sas, bytes(sas));

  await redis.flushall();
  await host.attach(streamTo([]));
  const batch = [sa(3n)];
  await assert.rejects(host.upsert(batch, bytes(batch)), /given it again/);
  await assert.rejects(host.remove([sas[0]!.id!]), /given it again/);
  assert.equal(await redis.hlen(shardKeys(SHARD).sas), 0);
  await eventually('it is repaired', 5_000, async () => (await redis.hlen(shardKeys(SHARD).sas)) === 2);
  await eventually('it takes more', 2_000, () =>
    host.upsert(batch, bytes(batch)).then(
      () => true,
      () => false,
    ),
  );
  assert.equal(await redis.hlen(shardKeys(SHARD).sas), 3);
});

test('a headend that Redis does not list any more is listed again, though of its shard nothing is lost', async (t) => {
  const { context, threads } = await surroundings(t);
  const { redis } = context.store;
  const { host } = await openShard(context, threads);
  t.after(() => host.stop('the test is over'));
  await redis.del(HEADENDS);
  await eventually('it is listed', 6_000, async () => (await redis.hget(HEADENDS, SHARD.headend)) === '1');
});

test('what Redis loses while it is given the shard again, it is given once more', async (t) => {
  const { context, threads } = await surroundings(t);
  const { redis } = context.store;
  const { host, thread } = await openShard(context, threads);
  t.after(() => host.stop('the test is over'));
  const sas = [sa(1n), sa(2n)];
  await host.upsert(sas, bytes(sas));

  const written = () => redis.hlen(shardKeys(SHARD).sas);
  let losses = 0;
  thread.beforeAnswer = async (type) => {
    // The last question of the repair: all is written.
    if (type !== 'query' || losses > 0 || (await written()) < 2) return;
    losses++;
    await redis.flushall();
    await host.attach(streamTo([]));
  };
  await redis.flushall();
  await eventually('it is lost again', 5_000, () => losses > 0);
  await eventually('it is repaired again', 5_000, async () => (await written()) === 2);
});

test('SAs that a thread cannot watch are in Redis no longer than until the next checkpoint; their headend finds them lost', async (t) => {
  const { context, threads } = await surroundings(t);
  const { redis } = context.store;
  const known = async () => (await redis.hkeys(shardKeys(SHARD).sas)).sort();
  const spi = (responderSpi: bigint) => spiHex(sa(responderSpi).id!);
  const { host, thread } = await openShard(context, threads);
  const sas = [sa(1n), sa(2n), sa(3n)];
  await host.upsert(sas, bytes(sas));
  const ended: string[] = [];
  await host.attach(streamTo(ended));
  thread.tell({ type: 'abandoned', unreadable: [1] });
  await eventually('the headend is told', 5_000, () => ended.length === 1);
  assert.deepEqual(await known(), [spi(1n), spi(3n)]);
  assert.equal(host.records.findHex(spi(2n)), -1);
  await host.stop('the test goes on');

  const successor = (await openShard(context, threads, [0])).host;
  t.after(() => successor.stop('the test is over'));
  assert.equal(successor.records.set.count, 1);
  assert.equal((await known()).length, 1);
});
