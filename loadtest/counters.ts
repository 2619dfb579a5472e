/** What the shards of one or several nodes have counted, together. */

import type { ShardCounters } from '../proto/gen/dpd/v1/operator_pb.js';

/** Sums of the shards' counters; `behindMs` is the worst. */
export function total(shards: readonly ShardCounters[]) {
  const sum = (read: (shard: ShardCounters) => number | bigint) =>
    shards.reduce((all, shard) => all + Number(read(shard)), 0);
  return {
    peers: sum((shard) => shard.peers),
    alive: sum((shard) => shard.alive),
    probing: sum((shard) => shard.probing),
    blocked: sum((shard) => shard.blocked),
    dead: sum((shard) => shard.dead),
    probesSent: sum((shard) => shard.probesSent),
    probesAnswered: sum((shard) => shard.probesAnswered),
    probesSuppressed: sum((shard) => shard.probesSuppressed),
    evidenceHeard: sum((shard) => shard.evidenceHeard),
    verdicts: sum((shard) => shard.verdicts),
    behindMs: Math.max(0, ...shards.map((shard) => shard.behindMs)),
  };
}

export type Totals = ReturnType<typeof total>;
