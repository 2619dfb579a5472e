/** The node's state for grpc.health.v1, by service: it shows which calls would be refused, or would have to wait. */

import type { HealthImplementation } from 'grpc-health-check';
import { HeadendService } from '../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import type { Clock } from '../base/clock.ts';
import type { ClusterNode } from './cluster/cluster-node.ts';

const LOOK_MS = 1_000;
/** A failover of Redis takes less, ms. */
const REDIS_PATIENCE_MS = 10_000;

/**
 * Keeps the services' health. The node as a whole ('') is healthy for as long as it runs: without Redis liveness goes on, and a
 * restart would end it. Returns the function that stops this.
 */
export function keepHealth(health: HealthImplementation, cluster: ClusterNode, clock: Clock): () => void {
  const set = ({ typeName }: { readonly typeName: string }, serves: boolean) =>
    health.setStatus(typeName, serves ? 'SERVING' : 'NOT_SERVING');
  const look = () => {
    set(HeadendService, whyNotServing(cluster) === undefined);
    set(VerdictService, hasRedis(cluster));
    set(OperatorService, true);
  };
  look();
  return clock.every(LOOK_MS, look);
}

/** Why headends should not come here now, or undefined if they may. */
export function whyNotServing(cluster: ClusterNode): string | undefined {
  if (!hasRedis(cluster)) return 'Redis is away';
  return cluster.draining ? 'draining' : undefined;
}

function hasRedis({ membership }: ClusterNode): boolean {
  return membership.withoutRedisMs < REDIS_PATIENCE_MS;
}
