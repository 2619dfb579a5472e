/**
 * Registration of 1,000,000 SAs with keys by a node: over its streams, checked, sealed, in Redis, on its threads. Beside
 * it the floor: the same messages decoded, and the same number of bytes put into the same kind of Redis by plain HSETs.
 */

import { randomBytes } from 'node:crypto';
import { create, fromBinary } from '@bufbuild/protobuf';
import { ConnectShardRequestSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import { Action, Mode, PolicySchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { shardOf } from '../../../services/api/spi.ts';
import { encodeRequest, RawStream } from '../../headend/raw-stream.ts';
import type { NodeProcess } from '../../node-process.ts';
import { type FleetShape, saOf } from '../../spokes/fleet.ts';
import { type Result, round, threadCpuMicros } from '../measure.ts';
import { withNode, withRedis } from '../rig.ts';

const SAS = 1_000_000;
const SHARDS = 8;
const BATCH = 1_000;
/** Batches on their way at once on each stream. */
const WINDOW = 4;
/** Bytes of an SA's record in Redis: its message, and its keys sealed. */
const STORED_BYTES = 242;
/** SAs that the floor is measured with. */
const SAMPLE = 50_000;

export async function register(): Promise<Result> {
  const batches = encodeFleet(SAS, SHARDS);
  const baseline = await floorMicros(batches[0]!);
  return withNode({ DPD_MAX_PEERS: String(SAS) }, async (node) => {
    const before = { cpuS: node.cpuSeconds(), rss: node.rssBytes() };
    const started = performance.now();
    const { streams } = await registerAll(node, batches);
    const wallS = (performance.now() - started) / 1_000;
    for (const stream of streams) stream.close();
    const cpuMicros = ((node.cpuSeconds() - before.cpuS) * 1e6) / SAS;
    return {
      sas: SAS,
      wall_s: round(wallS),
      cpu_us_per_sa: round(cpuMicros),
      rss_bytes_per_sa: Math.round((node.rssBytes() - before.rss) / SAS),
      baseline,
      ratio: round(cpuMicros / baseline),
    };
  });
}

/** A policy under which no probe is due during a benchmark. */
const QUIET = { mode: Mode.ON_IDLE, intervalMs: 3_600_000, retryIntervalMs: 2_000, retries: 5, jitterPercent: 10 };

/** Spokes that are not simulated. */
export function benchFleet(count: number, shards: number): FleetShape {
  const sockets = Array.from({ length: 128 }, (_, n) => ({ address: `127.${1 + (n >> 8)}.${n & 255}.1`, port: 9 }));
  return { count, shards, seed: 'register', sockets };
}

/** Upserts of a whole fleet, encoded, by shard. Nobody answers at their addresses. */
export function encodeFleet(
  count: number,
  shards: number,
  { policy: settings = QUIET, keys = true }: { policy?: typeof QUIET; keys?: boolean } = {},
): Uint8Array[][] {
  const fleet = benchFleet(count, shards);
  const policy = create(PolicySchema, { ...settings, action: Action.FAILOVER });
  const byShard = Array.from({ length: shards }, () => [] as Uint8Array[]);
  const gathering = Array.from({ length: shards }, () => [] as ReturnType<typeof saOf>[]);
  const pack = (shard: number) => {
    const value = { batchId: BigInt(byShard[shard]!.length + 1), sas: gathering[shard]! };
    byShard[shard]!.push(encodeRequest({ case: 'upsert', value }));
    gathering[shard] = [];
  };
  for (let spoke = 0; spoke < count; spoke++) {
    const sa = saOf(fleet, spoke, 0, policy);
    if (!keys) sa.keys = undefined;
    const shard = shardOf(sa.id!.responderSpi, shards);
    if (gathering[shard]!.push(sa) === BATCH) pack(shard);
  }
  for (let shard = 0; shard < shards; shard++) if (gathering[shard]!.length > 0) pack(shard);
  return byShard;
}

/** A stream for each shard, each with its shard loaded. */
export async function openAll(node: NodeProcess, shards: number): Promise<RawStream[]> {
  return Promise.all(
    Array.from({ length: shards }, async (_, shard) => {
      const stream = new RawStream(node.address);
      const loaded = Promise.withResolvers<void>();
      stream.onMessage((message) => {
        if (message.case === 'inventory' && message.value.complete) loaded.resolve();
      });
      stream.tell({ case: 'hello', value: { headend: 'bench', shard, shards } });
      await loaded.promise;
      return stream;
    }),
  );
}

/** Registers all of it on one stream a shard. Returns the streams and the SAs' handles, by shard. */
export async function registerAll(
  node: NodeProcess,
  byShard: readonly (readonly Uint8Array[])[],
): Promise<{ streams: RawStream[]; handles: number[][] }> {
  const streams = await openAll(node, byShard.length);
  const handles = byShard.map(() => [] as number[]);
  await Promise.all(
    byShard.map(async (batches, shard) => {
      const stream = streams[shard]!;
      const done = Promise.withResolvers<void>();
      let sent = 0;
      let acknowledged = 0;
      const pump = () => {
        while (sent < batches.length && sent - acknowledged < WINDOW) stream.send(batches[sent++]!);
      };
      stream.onMessage((message) => {
        if (message.case === 'batchRefused') done.reject(new Error('a batch was refused: Redis did not take it'));
        if (message.case !== 'batchDone') return;
        handles[shard]!.push(...message.value.handles);
        acknowledged++;
        if (acknowledged === batches.length) done.resolve();
        else pump();
      });
      pump();
      await done.promise;
      stream.onMessage(undefined);
    }),
  );
  return { streams, handles };
}

/** Decoding the messages and writing a field an SA, us of this thread's CPU per SA. */
async function floorMicros(batches: readonly Uint8Array[]): Promise<number> {
  return withRedis(async (redis) => {
    const messages = batches.slice(0, SAMPLE / BATCH);
    const record = randomBytes(STORED_BYTES);
    const before = threadCpuMicros();
    let field = 0;
    for (const message of messages) {
      const { message: decoded } = fromBinary(ConnectShardRequestSchema, message);
      if (decoded.case !== 'upsert') throw new Error('not an upsert');
      const commands = redis.pipeline();
      for (const _ of decoded.value.sas) {
        commands.hset('sas', String(field++), record);
      }
      await commands.exec();
    }
    return round((threadCpuMicros() - before) / field);
  });
}
