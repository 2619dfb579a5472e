/** `npm run agent`: stands beside a headend until SIGTERM or SIGINT. */

import { flushCompileCache } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { SettingsError } from '../../workers/base/errors.ts';
import { clientCredentials } from '../api/grpc/credentials.ts';
import { atMost, stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { runMain } from '../base/settings.ts';
import { startTracing } from '../telemetry/traces.ts';
import { Agent } from './agent.ts';
import { NodeChannels } from './channels.ts';
import { readAgentSettings } from './settings.ts';

/** Longest wait for the cluster when all there is to do is to give SAs back, ms. */
const RELEASE_MS = 60_000;
/** Longest wait at a stop for a collector that takes what is left, ms. */
const FLUSH_MS = 2_000;

await runMain(async () => {
  const settings = readAgentSettings();
  const log = createLogger('agent');
  const stopTracing = await startTracing('dpd-agent');
  const headend = settings.createHeadend(log);
  // What cannot be used is refused now, not at the first attempt to connect.
  for (const address of settings.agent.addresses) clientCredentials({ ...settings.transport, address });
  const agent = new Agent(settings.agent, headend, { channels: new NodeChannels(settings.transport), log });
  await headend.start(agent);
  // For the next start, however this one ends: without what strips types an agent has 25 MB less.
  flushCompileCache();
  const stop = stopOnSignal(log, async () => {
    await agent.stop();
    await atMost(FLUSH_MS, stopTracing());
  });
  if (!settings.release) return;
  const deadline = performance.now() + RELEASE_MS;
  while (!agent.settled) {
    if (performance.now() > deadline)
      throw new SettingsError(`release: the cluster did not answer within ${RELEASE_MS} ms`);
    await sleep(100);
  }
  stop('release');
});
