/** `npm run failover`: a separate failover worker, for nodes that run with --failover elsewhere. */

import { SettingsError } from '../../workers/base/errors.ts';
import { systemClock } from '../base/clock.ts';
import { stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { Refusals } from '../base/refusals.ts';
import { Seldom } from '../base/seldom.ts';
import { readSettings, runMain } from '../base/settings.ts';
import { joinBus } from '../store/cluster/bus.ts';
import { loadKeys, watchKeys, workerKeys } from '../store/key-source.ts';
import { checkMac, RecordMac } from '../store/record-mac.ts';
import { checkRedis } from '../store/redis/preflight.ts';
import { connectAtStart } from '../store/redis/redis.ts';
import { FailoverWorker } from './queue.ts';
import { FailoverReconciler } from './reconciler.ts';
import { FAILOVER_WORKER_SETTINGS } from './settings.ts';

await runMain(async () => {
  const settings = readSettings('npm run failover -- [settings]: sees failovers through', FAILOVER_WORKER_SETTINGS);
  const { redisUrl: url } = settings;
  if (url === undefined) throw new SettingsError('redis-url: must be the Redis that the nodes use');
  const source = workerKeys(settings);
  const mac = new RecordMac(loadKeys(source));
  const log = createLogger('failover');
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
  log.info('working');
  stopOnSignal(log, async () => {
    endKeys();
    await worker.close();
    bus.close();
    redis.disconnect();
  });
});
