/**
 * Loaded into a node before its own code, in its main thread and in each worker: simulates what a machine may do to a node.
 * At SIGUSR2 the main thread reads the file named in DPD_MEDDLE and passes it to all threads. With DPD_MEDDLE_STEP_MS the
 * clock is wrong from the beginning.
 */

import { readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

/** What happens to a node. */
export type Meddling =
  /** Its workers stand still for so long, ms. */
  | { readonly kind: 'block'; readonly ms: number }
  /** Its system clock goes forward by so much at once, or back, ms. */
  | { readonly kind: 'step'; readonly ms: number };

const channel = new BroadcastChannel('meddler');
const meddle = (meddling: Meddling) => {
  if (meddling.kind === 'step') stepClock(meddling.ms);
  else if (!isMainThread) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, meddling.ms);
};

channel.onmessage = ({ data }: MessageEvent) => meddle(data as Meddling);
if (isMainThread)
  process.on('SIGUSR2', () => {
    const meddling = JSON.parse(readFileSync(process.env['DPD_MEDDLE']!, 'utf8')) as Meddling;
    channel.postMessage(meddling);
    meddle(meddling);
  });
else (channel as unknown as { unref(): void }).unref();

if (process.env['DPD_MEDDLE_STEP_MS']) stepClock(Number(process.env['DPD_MEDDLE_STEP_MS']));

function stepClock(ms: number): void {
  const { now } = Date;
  const stepped = () => now() + ms;
  Date.now = stepped;
  globalThis.Date = new Proxy(Date, {
    construct: (target, args: [], self) =>
      Reflect.construct(target, args.length === 0 ? [stepped()] : args, self) as Date,
  });
}
