/** `npm run agent`: stands beside a headend until SIGTERM or SIGINT. */

import { flushCompileCache } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { SettingsError } from '../../workers/base/errors.ts';
import { clientCredentials } from '../api/grpc/credentials.ts';
import { atMost, stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { forbidCoreDumps } from '../base/process/core-dumps.ts';
import { runMain } from '../base/settings.ts';
import { AGENT_METRICS, observe } from '../telemetry/metrics.ts';
import { startTelemetry } from '../telemetry/telemetry.ts';
import { Agent } from './agent.ts';
import { NodeChannels } from './channels.ts';
import { readAgentSettings } from './settings.ts';

/** Longest wait for the cluster if the agent only gives SAs back, ms. */
const RELEASE_MS = 60_000;
/** Longest wait at a stop for the collector to take the last metrics and traces, ms. */
const FLUSH_MS = 2_000;

await runMain(async () => {
  const settings = readAgentSettings();
  const log = createLogger('agent');
  if (!settings.coreDumps && !forbidCoreDumps()) log.warn('core dumps cannot be forbidden here: keys would be in them');
  let agent: Agent | undefined;
  const telemetry = await startTelemetry({
    service: 'dpd-agent',
    instance: settings.agent.headend,
    metricsAddress: settings.metricsAddress,
    probes: { notReady: () => (agent ? agent.notReady() : 'starting') },
  });
  const headend = settings.createHeadend(log);
  // Credentials that cannot be used are refused now, not at the first attempt to connect.
  for (const address of settings.agent.addresses) clientCredentials({ ...settings.transport, address });
  const running = new Agent(settings.agent, headend, { channels: new NodeChannels(settings.transport), log });
  agent = running;
  observe(AGENT_METRICS, () => running.metrics());
  await headend.start(running);
  // Filled now for the next start, in case this run crashes: without the type stripper an agent needs 25 MB less.
  flushCompileCache();
  const stop = stopOnSignal(log, async () => {
    await running.stop();
    await atMost(FLUSH_MS, telemetry.stop());
  });
  if (!settings.release) return;
  const deadline = performance.now() + RELEASE_MS;
  while (!running.settled) {
    if (performance.now() > deadline)
      throw new SettingsError(`release: the cluster did not answer within ${RELEASE_MS} ms`);
    await sleep(100);
  }
  stop('release');
});
