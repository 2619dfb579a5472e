/** A node's metrics as they are now. */

import { COUNTER_ROWS } from '../../workers/shard/counters.ts';
import type { Refusals } from '../base/refusals.ts';
import type { FailoverReconciler } from '../failover/reconciler.ts';
import type { Metric } from '../telemetry/metrics.ts';
import type { ShardRoundTrips } from '../telemetry/round-trips.ts';
import type { ClusterNode } from './cluster/cluster-node.ts';

/** Values of all shards hosted here; those whose thread does not answer are left out. */
export async function readMetrics(
  cluster: ClusterNode,
  { advanced, givenUp }: FailoverReconciler['counters'],
  { counts: refusals }: Pick<Refusals, 'counts'>,
): Promise<Metric[]> {
  const shards = await Promise.allSettled(
    cluster.shards.hosted().map(async (shard) => ({ id: shard.id, counts: await shard.counts() })),
  );
  const metrics: Metric[] = [
    { name: 'dpd.members', value: cluster.membership.members.length },
    { name: 'dpd.failovers', value: cluster.seenThrough, attributes: { step: 'done' } },
    { name: 'dpd.failovers', value: advanced, attributes: { step: 'next_endpoint' } },
    { name: 'dpd.failovers', value: givenUp, attributes: { step: 'given_up' } },
  ];
  for (const [source, value] of refusals) metrics.push({ name: 'dpd.input.refused', value, attributes: { source } });
  for (const shard of shards) {
    if (shard.status === 'rejected') continue;
    const { id, counts } = shard.value;
    const where = { 'dpd.headend': id.headend, 'dpd.shard': id.shard };
    for (const [counter, { metric, attribute }] of COUNTER_ROWS) {
      if (!metric) continue;
      const attributes = attribute ? { ...where, [attribute[0]]: attribute[1] } : where;
      metrics.push({ name: metric, value: counts[counter], attributes });
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
