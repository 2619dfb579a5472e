/** `npm run failover`: a separate failover worker, for nodes that run with --failover elsewhere. */

import { SettingsError } from '../../workers/base/errors.ts';
import { systemClock } from '../base/clock.ts';
import { stopOnSignal } from '../base/lifetime.ts';
import { createLogger } from '../base/log.ts';
import { readSettings, runMain } from '../base/settings.ts';
import { joinBus } from '../store/cluster/bus.ts';
import { checkRedis } from '../store/redis/preflight.ts';
import { connectAtStart } from '../store/redis/redis.ts';
import { FailoverWorker } from './queue.ts';
import { FailoverReconciler } from './reconciler.ts';
import { FAILOVER_SETTINGS } from './settings.ts';

await runMain(async () => {
  const settings = readSettings('npm run failover -- [settings]: sees failovers through', FAILOVER_SETTINGS);
  if (settings.redisUrl === undefined) throw new SettingsError('redis-url: must be the Redis that the nodes use');
  const log = createLogger('failover');
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
  log.info('working');
  stopOnSignal(log, async () => {
    await worker.close();
    bus.close();
    redis.disconnect();
  });
});
