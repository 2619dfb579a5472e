/** `npm run failover`: a separate failover worker, for nodes that run with --failover elsewhere. */

import { randomUUID } from 'node:crypto';
import { SettingsError } from '../../workers/base/errors.ts';
import { systemClock } from '../base/clock.ts';
import { atMost, stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { Refusals } from '../base/refusals.ts';
import { Seldom } from '../base/seldom.ts';
import { readSettings, runMain } from '../base/settings.ts';
import { joinBus } from '../store/cluster/bus.ts';
import { loadKeys, watchKeys, workerKeys } from '../store/key-source.ts';
import { checkMac, RecordMac } from '../store/record-mac.ts';
import { checkRedis } from '../store/redis/preflight.ts';
import { connectAtStart } from '../store/redis/redis.ts';
import { FAILOVER_WORKER_METRICS, observe } from '../telemetry/metrics.ts';
import { startTelemetry } from '../telemetry/telemetry.ts';
import { FailoverWorker } from './queue.ts';
import { FailoverReconciler } from './reconciler.ts';
import { FAILOVER_WORKER_SETTINGS } from './settings.ts';

/** Longest wait at a stop for the collector to take the last metrics and traces, ms. */
const FLUSH_MS = 2_000;

await runMain(async () => {
  const settings = readSettings('dpd-failover [settings]: sees failovers through', FAILOVER_WORKER_SETTINGS);
  const { redisUrl: url } = settings;
  if (url === undefined) throw new SettingsError('redis-url: must be the Redis that the nodes use');
  const source = workerKeys(settings);
  const mac = new RecordMac(loadKeys(source));
  const log = createLogger('failover');
  let ready = false;
  const telemetry = await startTelemetry({
    service: 'dpd-failover',
    instance: randomUUID(),
    metricsAddress: settings.metricsAddress,
    probes: { notReady: () => (ready ? undefined : 'starting') },
  });
  const redis = await connectAtStart(url);
  await checkRedis(redis);
  await checkMac(mac, redis);
  const refusals = new Refusals(log);
  // It only speaks.
  const bus = await joinBus(
    { redis, url, mac },
    () => {},
    () => {},
  );
  const endKeys = watchKeys(source, (keys) => {
    if (keys instanceof Error) log.error({ reason: keys.message }, 'keys not read: those read before hold');
    else mac.use(keys);
  });
  const reconciler = new FailoverReconciler({
    redis,
    mac,
    refused: (error) => refusals.note('redis', error.message),
    bus,
    clock: systemClock,
    log,
    limits: { deadlineMs: settings.failoverDeadline },
  });
  const worker = new FailoverWorker(url, reconciler, new Seldom(log, systemClock.now));
  const { counters } = reconciler;
  observe(FAILOVER_WORKER_METRICS, () => [
    { name: 'dpd.failovers', value: counters.advanced, attributes: { 'dpd.failover.step': 'next_endpoint' } },
    { name: 'dpd.failovers', value: counters.givenUp, attributes: { 'dpd.failover.step': 'given_up' } },
  ]);
  ready = true;
  log.info('working');
  stopOnSignal(log, async () => {
    endKeys();
    await worker.close();
    bus.close();
    redis.disconnect();
    await atMost(FLUSH_MS, telemetry.stop());
  });
});
