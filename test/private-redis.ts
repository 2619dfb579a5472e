import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { EmbeddedRedis } from '../services/store/redis/embedded-redis.ts';
import { connectRedis, type RedisClient } from '../services/store/redis/redis.ts';

/** A client of a Redis that is the test's own, and gone with it. */
export async function privateRedis(t: TestContext): Promise<RedisClient> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-redis-'));
  const server = await EmbeddedRedis.start(directory);
  const redis = await connectRedis(server.url);
  t.after(async () => {
    redis.disconnect();
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  return redis;
}
