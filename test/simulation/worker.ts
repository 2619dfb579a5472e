/** A thread of the simulator: one seed at a time. */

import { parentPort } from 'node:worker_threads';
import { run } from './run.ts';

parentPort!.on('message', async ({ seed, hours }: { seed: number; hours: number }) => {
  parentPort!.postMessage(await run(seed, hours));
});
