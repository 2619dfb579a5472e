import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { monotonicMs } from '../../../workers/base/monotonic.ts';

test('a thread that is started later reads the same clock', async () => {
  const url = new URL('../../../workers/base/monotonic.ts', import.meta.url).href;
  const worker = new Worker(
    `import(${JSON.stringify(url)}).then(({ monotonicMs }) => {
       const { parentPort } = require('node:worker_threads');
       parentPort.on('message', () => parentPort.postMessage(monotonicMs()));
       parentPort.postMessage('ready');
     });`,
    { eval: true },
  );
  await once(worker, 'message');
  const before = monotonicMs();
  worker.postMessage('');
  const [there] = (await once(worker, 'message')) as [number];
  assert(before <= there && there <= monotonicMs(), `${there} is not between ${before} and ${monotonicMs()}`);
  const kernel = Number(process.hrtime.bigint()) / 1e6;
  assert(Math.abs(monotonicMs() - kernel) < 50, 'it is not the kernel clock');
  await worker.terminate();
});
