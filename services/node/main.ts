/** `npm start`: runs a node until SIGTERM or SIGINT. */

import { atMost, stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { forbidCoreDumps } from '../base/process/core-dumps.ts';
import { lowDescriptorLimit } from '../base/process/descriptors.ts';
import { startWatchdog } from '../base/process/watchdog.ts';
import { runMain } from '../base/settings.ts';
import { startMetrics } from '../telemetry/metrics.ts';
import { startTracing } from '../telemetry/traces.ts';
import { DpdNode, mostShards } from './node.ts';
import { readNodeSettings } from './settings.ts';

/** Longest wait at a stop for the collector to take the last metrics and traces, ms. */
const FLUSH_MS = 2_000;

await runMain(async () => {
  const settings = readNodeSettings();
  const log = createLogger('node');
  if (!settings.coreDumps && !forbidCoreDumps()) log.warn('core dumps cannot be forbidden here: keys would be in them');
  const low = lowDescriptorLimit(2 * mostShards(settings));
  if (low !== undefined) log.warn({ warning: low }, 'too few file descriptors');
  const stopTracing = await startTracing('dpd-node');
  const node = await DpdNode.start(settings, log);
  // Not before: a start reads files for long.
  startWatchdog(log);
  const stopMetrics = startMetrics('dpd-node', () => node.metrics());
  stopOnSignal(log, async () => {
    // Exports the last metrics while the shards move.
    const flushed = atMost(FLUSH_MS, stopMetrics());
    await node.stop();
    await Promise.all([flushed, atMost(FLUSH_MS, stopTracing())]);
  });
});
