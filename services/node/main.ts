/** `npm start`: runs a node until SIGTERM or SIGINT. */

import { createLogger } from '../base/log.ts';
import { runMain } from '../base/settings.ts';
import { startMetrics } from '../telemetry/metrics.ts';
import { startTracing } from '../telemetry/traces.ts';
import { DpdNode } from './node.ts';
import { readNodeSettings } from './settings.ts';

await runMain(async () => {
  const settings = readNodeSettings();
  const log = createLogger('node');
  const stopTracing = await startTracing('dpd-node');
  const node = await DpdNode.start(settings, log);
  const stopMetrics = startMetrics('dpd-node', () => node.metrics());
  const stop = async (signal: string) => {
    log.info({ signal }, 'stopping');
    await stopMetrics();
    await node.stop();
    await stopTracing();
    process.exit(0);
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
});
