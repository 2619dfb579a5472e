/** `npm run bench [-- NAME ...] [--json]`: benchmarks, each with its baseline and ratio from the same run. */

import { parseArgs } from 'node:util';
import { runMain } from '../../services/base/settings.ts';
import { SettingsError } from '../../workers/base/errors.ts';
import { hub } from './hub/hub.ts';
import { HUB_FLAGS, HUB_HELP, readHubOptions } from './hub/options.ts';
import type { Result } from './measure.ts';
import { failover } from './node/failover.ts';
import { register } from './node/register.ts';
import { start } from './node/start.ts';
import { takeover } from './node/takeover.ts';
import { verdict } from './node/verdict.ts';
import { evidence } from './shard/evidence.ts';
import { machine } from './shard/machine.ts';
import { probe, probeIkev1 } from './shard/probe.ts';
import { scale } from './shard/scale.ts';
import { sealing } from './shard/seal.ts';
import { wheel } from './shard/wheel.ts';
import { steering } from './steering/steering.ts';

const BENCHMARKS: Readonly<Record<string, () => Promise<Result>>> = {
  wheel,
  machine,
  seal: sealing,
  probe,
  evidence,
  register,
  verdict,
  failover,
  takeover,
  scale,
  start,
};

await runMain(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, help: { type: 'boolean' }, ike: { type: 'string' }, ...HUB_FLAGS },
  });
  const ike = values.ike ?? '2';
  if (ike !== '1' && ike !== '2') throw new SettingsError(`--ike=${ike}: must be 1 or 2`);
  // They need root, one of them minutes: only where they are named.
  const byName: typeof BENCHMARKS = {
    ...BENCHMARKS,
    ...(ike === '1' && { probe: probeIkev1 }),
    steering,
    hub: () => hub(readHubOptions(values)),
  };
  if (values.help) {
    process.stdout.write(
      `npm run bench [-- NAME ...] [--json]\nnames: ${Object.keys(byName).join(', ')}\nprobe: [--ike 2, or 1]\nsteering: needs root\n${HUB_HELP}\n`,
    );
    return;
  }
  const results: Record<string, Result> = {};
  for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHMARKS)) {
    const run = byName[name];
    if (!run) throw new SettingsError(`${name}: no such benchmark; there are ${Object.keys(byName).join(', ')}`);
    results[name] = await run();
    if (!values.json) {
      const figures = Object.entries(results[name]).map(([figure, value]) => `${figure} ${value}`);
      process.stdout.write(`${name.padEnd(12)}${figures.join('  ')}\n`);
    }
  }
  if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
});
