/**
 * A node with 250,000 SAs is killed; its headend connects to another, which reads them from Redis and watches them. Beside
 * the floor: one client that reads the same hashes and does nothing with them.
 */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../../services/api/grpc/client.ts';
import { plaintext } from '../../../services/api/grpc/credentials.ts';
import { shardKeys } from '../../../services/store/keys.ts';
import type { RedisClient } from '../../../services/store/redis/redis.ts';
import { type Result, round } from '../measure.ts';
import { withNode, withRedis } from '../rig.ts';
import { encodeFleet, openAll, registerAll } from './register.ts';

const SAS = 250_000;
const SHARDS = 8;
const PAGE = 2_000;
const SETTLE_MS = 3_000;

export async function takeover(): Promise<Result> {
  const batches = encodeFleet(SAS, SHARDS);
  return withRedis(async (redis, url) => {
    const env = { REDIS_URL: url, DPD_VAULT_KEY: randomBytes(32).toString('base64') };
    return withNode({ ...env, DPD_NODE_ID: 'one' }, (one) =>
      withNode({ ...env, DPD_NODE_ID: 'two' }, async (two) => {
        const { streams } = await registerAll(one, batches);
        // Its checkpoint is in Redis.
        await sleep(SETTLE_MS);
        const cpuS = two.cpuSeconds();
        const killed = performance.now();
        await one.stop('SIGKILL');
        for (const stream of streams) stream.close();
        const next = await openAll(two, SHARDS);
        const watchedMs = performance.now() - killed;
        const cpuMicros = ((two.cpuSeconds() - cpuS) * 1e6) / SAS;
        const client = new ApiClient(plaintext(two.address));
        const { shards } = await client.unary(OperatorService.method.getCounters, {});
        const peers = shards.reduce((sum, shard) => sum + shard.peers, 0);
        if (peers !== SAS) throw new Error(`${peers} of ${SAS} SAs are watched`);
        client.close();
        for (const stream of next) stream.close();
        const baseline = await floorMs(redis);
        return {
          sas: SAS,
          watched_ms: Math.round(watchedMs),
          cpu_us_per_sa: round(cpuMicros),
          baseline,
          ratio: round(watchedMs / baseline),
        };
      }),
    );
  });
}

/** Reading all SAs, ms. */
async function floorMs(redis: RedisClient): Promise<number> {
  const started = performance.now();
  for (let shard = 0; shard < SHARDS; shard++) {
    let cursor = '0';
    do {
      const [next] = await redis.hscanBuffer(shardKeys({ headend: 'bench', shard }).sas, cursor, 'COUNT', PAGE);
      cursor = String(next);
    } while (cursor !== '0');
  }
  return Math.round(performance.now() - started);
}
