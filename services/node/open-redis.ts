/** A node's Redis: a private one, or one of the operator's, which has to be such that a node can rely on it. */

import { SettingsError } from '../../workers/base/errors.ts';
import type { Logger } from '../base/log.ts';
import { livingTwin } from '../store/cluster/twin.ts';
import { EmbeddedRedis } from '../store/redis/embedded-redis.ts';
import { checkRedis } from '../store/redis/preflight.ts';
import { connectAtStart, type RedisClient } from '../store/redis/redis.ts';
import type { NodeSettings } from './settings.ts';

export type OpenRedis = {
  readonly url: string;
  readonly redis: RedisClient;
  /** Undefined: it is the operator's. */
  readonly embedded: EmbeddedRedis | undefined;
};

/** Connects. Throws SettingsError that says why this Redis, or this node's name in it, cannot be used. */
export async function openRedis({ redisUrl, dataDir, nodeId }: NodeSettings, log: Logger): Promise<OpenRedis> {
  if (redisUrl === undefined) {
    const embedded = await EmbeddedRedis.start(dataDir);
    embedded.onFailure = (error, forGood) => embeddedEnded(error, forGood, log);
    return { url: embedded.url, redis: await connectAtStart(embedded.url), embedded };
  }
  const redis = await connectAtStart(redisUrl);
  for (const warning of await checkRedis(redis)) log.warn({ warning }, 'Redis is not set up as it should be');
  const twin = await livingTwin(redis, nodeId);
  if (twin !== undefined)
    throw new SettingsError(`node-id ${nodeId}: a node of this name lives, at ${twin}; each needs its own`);
  return { url: redisUrl, redis, embedded: undefined };
}

/** A supervisor starts a node without Redis anew; its headends go elsewhere meanwhile, if there is another node. */
function embeddedEnded({ message: reason }: Error, forGood: boolean, log: Logger): void {
  if (!forGood) {
    log.error({ reason }, 'the private Redis ended: started again');
    return;
  }
  log.error({ reason }, 'the private Redis ended, again and again');
  process.exit(1);
}
