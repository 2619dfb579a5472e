/** `npm run failover`: a separate failover worker, for nodes that run with --failover elsewhere. */

import { randomUUID } from 'node:crypto';
import { SettingsError } from '../../workers/base/errors.ts';
import { systemClock } from '../base/clock.ts';
import { atMost, stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { readSettings, runMain } from '../base/settings.ts';
import { joinBus } from '../store/cluster/bus.ts';
import { checkRedis } from '../store/redis/preflight.ts';
import { connectAtStart } from '../store/redis/redis.ts';
import { FAILOVER_WORKER_METRICS, observe } from '../telemetry/metrics.ts';
import { startTelemetry } from '../telemetry/telemetry.ts';
import { FailoverWorker } from './queue.ts';
import { FailoverReconciler } from './reconciler.ts';
import { FAILOVER_SETTINGS } from './settings.ts';

/** Longest wait at a stop for the collector to take the last metrics and traces, ms. */
const FLUSH_MS = 2_000;

await runMain(async () => {
  const settings = readSettings('dpd-failover [settings]: sees failovers through', FAILOVER_SETTINGS);
  if (settings.redisUrl === undefined) throw new SettingsError('redis-url: must be the Redis that the nodes use');
  const log = createLogger('failover');
  let ready = false;
  const telemetry = await startTelemetry({
    service: 'dpd-failover',
    instance: randomUUID(),
    metricsAddress: settings.metricsAddress,
    probes: { notReady: () => (ready ? undefined : 'starting') },
  });
  const redis = await connectAtStart(settings.redisUrl);
  await checkRedis(redis);
  const bus = await joinBus(
    redis,
    settings.redisUrl,
    () => {},
    () => {},
  );
  const limits = { deadlineMs: settings.failoverDeadline };
  const reconciler = new FailoverReconciler({ redis, bus, clock: systemClock, log, limits });
  const worker = new FailoverWorker(settings.redisUrl, reconciler, log);
  const { counters } = reconciler;
  observe(FAILOVER_WORKER_METRICS, () => [
    { name: 'dpd.failovers', value: counters.advanced, attributes: { 'dpd.failover.step': 'next_endpoint' } },
    { name: 'dpd.failovers', value: counters.givenUp, attributes: { 'dpd.failover.step': 'given_up' } },
  ]);
  ready = true;
  log.info('working');
  stopOnSignal(log, async () => {
    await worker.close();
    bus.close();
    redis.disconnect();
    await atMost(FLUSH_MS, telemetry.stop());
  });
});
