/** A node of its own with its private Redis, for benchmarks that need all of it. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedRedis } from '../../services/store/redis/embedded-redis.ts';
import { connectRedis, type RedisClient } from '../../services/store/redis/redis.ts';
import { NodeProcess } from '../node-process.ts';

/** Runs `work` beside a fresh node, which is stopped afterwards. */
export async function withNode<T>(env: Record<string, string>, work: (node: NodeProcess) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-bench-'));
  let node: NodeProcess | undefined;
  try {
    node = await NodeProcess.start(`unix:${join(directory, 'node.sock')}`, {
      DPD_DATA_DIR: join(directory, 'data'),
      DPD_NODE_ID: 'bench',
      ...env,
    });
    return await work(node);
  } finally {
    await node?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs `work` beside a fresh Redis, which is stopped afterwards. */
export async function withRedis<T>(work: (redis: RedisClient, url: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-bench-'));
  const server = await EmbeddedRedis.start(directory);
  const redis = await connectRedis(server.url);
  try {
    return await work(redis, server.url);
  } finally {
    redis.disconnect();
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}
