/** `npm start`: runs a node until SIGTERM or SIGINT. */

import { atMost, stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { runMain } from '../base/settings.ts';
import { NODE_METRICS, observe } from '../telemetry/metrics.ts';
import { startTelemetry } from '../telemetry/telemetry.ts';
import { DpdNode } from './node.ts';
import { readNodeSettings } from './settings.ts';

/** Longest wait at a stop for the collector to take the last metrics and traces, ms. */
const FLUSH_MS = 2_000;

await runMain(async () => {
  const settings = readNodeSettings();
  const log = createLogger('node');
  let node: DpdNode | undefined;
  const telemetry = await startTelemetry({
    service: 'dpd-node',
    instance: settings.nodeId,
    metricsAddress: settings.metricsAddress,
    probes: { notReady: () => (node ? node.notReady() : 'starting') },
  });
  const running = await DpdNode.start(settings, log);
  node = running;
  observe(NODE_METRICS, () => running.metrics());
  stopOnSignal(log, async () => {
    // Exports the last metrics while the shards move.
    const flushed = atMost(FLUSH_MS, telemetry.flush());
    await running.stop();
    await flushed;
    await atMost(FLUSH_MS, telemetry.stop());
  });
});
