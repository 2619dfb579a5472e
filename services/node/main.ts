/** `npm start`: runs a node until SIGTERM or SIGINT. */

import { createLogger } from '../base/log.ts';
import { runMain } from '../base/settings.ts';
import { startMetrics } from '../telemetry/metrics.ts';
import { startTracing } from '../telemetry/traces.ts';
import { readNode } from './metrics.ts';
import { ConcentratorNode } from './node.ts';
import { readNodeSettings } from './settings.ts';

await runMain(async () => {
  const settings = readNodeSettings();
  const log = createLogger('concentrator');
  const stopTracing = startTracing('dpd-concentrator');
  const node = await ConcentratorNode.start(settings, log);
  const stopMetrics = startMetrics('dpd-concentrator', () => readNode(node));
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
