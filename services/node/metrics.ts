/** A node's metrics as they are now. */

import { COUNTER_ROWS, metricValue } from '../../workers/shard/counters.ts';
import type { Refusals } from '../base/refusals.ts';
import type { FailoverReconciler } from '../failover/reconciler.ts';
import type { Metric } from '../telemetry/metrics.ts';
import type { ShardRoundTrips } from '../telemetry/round-trips.ts';
import type { ClusterNode } from './cluster/cluster-node.ts';

/** Where a node gets input that it may refuse, besides its API. */
const SOURCES = ['bus', 'redis'] as const;

/** Values of all shards hosted here; those whose thread does not answer are left out. */
export async function readMetrics(
  cluster: ClusterNode,
  { advanced, givenUp }: FailoverReconciler['counters'],
  { counts: refusals }: Pick<Refusals, 'counts'>,
): Promise<Metric[]> {
  const hosted = cluster.shards.hosted();
  const shards = await Promise.allSettled(
    hosted.map(async (shard) => ({ id: shard.id, connected: shard.headendConnected, counts: await shard.counts() })),
  );
  const step = 'dpd.failover.step';
  const metrics: Metric[] = [
    { name: 'dpd.members', value: cluster.membership.members.length },
    { name: 'dpd.shards', value: hosted.length },
    { name: 'dpd.draining', value: Number(cluster.draining) },
    { name: 'dpd.redis.silence', value: cluster.membership.withoutRedisMs / 1_000 },
    { name: 'dpd.failovers', value: cluster.seenThrough, attributes: { [step]: 'done' } },
    { name: 'dpd.failovers', value: advanced, attributes: { [step]: 'next_endpoint' } },
    { name: 'dpd.failovers', value: givenUp, attributes: { [step]: 'given_up' } },
  ];
  for (const source of SOURCES)
    metrics.push({
      name: 'dpd.input.refused',
      value: refusals.get(source) ?? 0,
      attributes: { 'dpd.input.source': source },
    });
  for (const shard of shards) {
    if (shard.status === 'rejected') continue;
    const { id, connected, counts } = shard.value;
    const where = { 'dpd.headend': id.headend, 'dpd.shard': id.shard };
    metrics.push({ name: 'dpd.streams', value: Number(connected), attributes: where });
    for (const [counter, { metric, attribute }] of COUNTER_ROWS) {
      if (!metric) continue;
      const attributes = attribute ? { ...where, [attribute[0]]: attribute[1] } : where;
      metrics.push({ name: metric, value: metricValue(counter, counts), attributes });
    }
  }
  return metrics;
}

/** Round trips of all shards hosted here; those whose thread does not answer are left out. */
export async function readRoundTrips(cluster: ClusterNode): Promise<ShardRoundTrips[]> {
  const shards = await Promise.allSettled(
    cluster.shards.hosted().map(async (shard) => ({
      attributes: { 'dpd.headend': shard.id.headend, 'dpd.shard': shard.id.shard },
      counts: await shard.roundTrips(),
    })),
  );
  return shards.flatMap((shard) => (shard.status === 'fulfilled' ? [shard.value] : []));
}
