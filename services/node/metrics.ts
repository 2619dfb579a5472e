/** A node's metrics as they are now. */

import { State } from '../../workers/liveness/peers.ts';
import type { Reading } from '../telemetry/metrics.ts';
import type { ConcentratorNode } from './node.ts';

/** Values of all shards hosted here; those whose thread does not answer are left out. */
export async function readNode(node: ConcentratorNode): Promise<Reading[]> {
  const shards = await Promise.allSettled(
    node.hosts().map(async (host) => ({ host, counters: await host.counters() })),
  );
  const readings: Reading[] = [{ name: 'dpd.members', value: node.concentrator.membership.members.length }];
  for (const shard of shards) {
    if (shard.status === 'rejected') continue;
    const { host, counters } = shard.value;
    const { held, waiting } = host.verdicts;
    const where = { 'dpd.headend': host.id.headend, 'dpd.shard': host.id.shard };
    const add = (name: Reading['name'], value: number, attributes = {}) =>
      readings.push({ name, value, attributes: { ...where, ...attributes } });
    for (const [state, number] of Object.entries(State))
      if (number !== State.FREE) add('dpd.peers', counters.states[number]!, { state: state.toLowerCase() });
    add('dpd.path.vouched', counters.pathVouched ? 1 : 0);
    add('dpd.probes.behind', counters.behindMs);
    add('dpd.verdicts.waiting', waiting);
    add('dpd.verdicts.held', held.count);
    add('dpd.verdicts', counters.verdicts);
    add('dpd.probes', counters.probesSent, { result: 'sent' });
    add('dpd.probes', counters.probesAnswered, { result: 'answered' });
    add('dpd.probes', counters.retransmissions, { result: 'repeated' });
    add('dpd.probes', counters.probesSuppressed, { result: 'spared' });
    add('dpd.probes', counters.sendErrors, { result: 'failed' });
    add('dpd.replies.dropped', counters.repliesMalformed, { reason: 'malformed' });
    add('dpd.replies.dropped', counters.repliesUnknownSa, { reason: 'unknown_sa' });
    add('dpd.replies.dropped', counters.repliesForged, { reason: 'forged' });
    add('dpd.replies.dropped', counters.repliesReplayed, { reason: 'replayed' });
    add('dpd.replies.dropped', counters.repliesUnread, { reason: 'unread' });
    add('dpd.guard', counters.suspicionsBlinded, { guard: 'blind_time' });
    add('dpd.guard', counters.probesBlocked, { guard: 'interlock' });
    add('dpd.guard', held.counters.held, { guard: 'storm_held' });
    add('dpd.guard', held.counters.cancelled, { guard: 'storm_taken_back' });
    add('dpd.guard', held.counters.released, { guard: 'storm_released' });
    add('dpd.guard', held.counters.dropped, { guard: 'storm_dropped' });
  }
  const { done, advanced, givenUp } = node.failovers;
  readings.push(
    { name: 'dpd.failovers', value: done, attributes: { step: 'done' } },
    { name: 'dpd.failovers', value: advanced, attributes: { step: 'next_endpoint' } },
    { name: 'dpd.failovers', value: givenUp, attributes: { step: 'given_up' } },
  );
  return readings;
}
