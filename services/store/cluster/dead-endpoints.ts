/**
 * Endpoints that a verdict of any headend has lately found dead, which a single hub cannot know. Only a hint: they are
 * still tried, but last.
 */

import type { Endpoint } from '../../../proto/gen/dpd/v1/types_pb.js';
import { DEAD_ENDPOINTS } from '../keys.ts';
import type { RedisClient } from '../redis/redis.ts';

/** How long a verdict speaks against its endpoint, ms. */
const DEAD_FOR_MS = 600_000;

type Place = Pick<Endpoint, 'address' | 'port'>;

/** Notes endpoints as dead. */
export async function markDead(redis: RedisClient, endpoints: readonly Place[], nowUnix: number): Promise<void> {
  if (endpoints.length === 0) return;
  await redis.zadd(DEAD_ENDPOINTS, ...endpoints.flatMap((endpoint) => [Math.round(nowUnix), nameOf(endpoint)]));
  await redis.zremrangebyscore(DEAD_ENDPOINTS, 0, Math.round(nowUnix) - DEAD_FOR_MS);
}

/** SAs came up on these endpoints: they live. */
export async function markAlive(redis: RedisClient, endpoints: readonly Place[]): Promise<void> {
  // If no endpoint is taken for dead, a registration of many need not name them all.
  if (endpoints.length === 0 || (await redis.zcard(DEAD_ENDPOINTS)) === 0) return;
  await redis.zrem(DEAD_ENDPOINTS, ...new Set(endpoints.map(nameOf)));
}

/** Which of these endpoints are taken for dead. */
export async function knownDead(
  redis: RedisClient,
  endpoints: readonly Place[],
  nowUnix: number,
): Promise<(endpoint: Place) => boolean> {
  const names = [...new Set(endpoints.map(nameOf))];
  if (names.length === 0) return () => false;
  const scores = await redis.zmscore(DEAD_ENDPOINTS, ...names);
  const dead = new Set(names.filter((_, n) => Number(scores[n] ?? 0) > nowUnix - DEAD_FOR_MS));
  return (endpoint) => dead.has(nameOf(endpoint));
}

function nameOf({ address, port }: Place): string {
  return `${address}:${port || 4500}`;
}
