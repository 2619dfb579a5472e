/** The thread that watches the main thread: see watchdog.ts. */

import { writeSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import type { WatchdogData } from './watchdog.ts';

const STDERR = 2;
const { beats, lookMs, tellAfter, endAfter } = workerData as WatchdogData;
let seen = -1;
/** Looks in a row without a beat. Time in which this thread did not run either, as in a suspended machine, is not counted. */
let silent = 0;

setInterval(() => {
  const now = Atomics.load(beats, 0);
  silent = now === seen ? silent + 1 : 0;
  seen = now;
  if (silent === tellAfter || silent === endAfter) tell(silent * lookMs, silent === endAfter);
  if (silent === endAfter) process.kill(process.pid, 'SIGKILL');
}, lookMs);

/** A line of the log, written here: the logger is the main thread's. */
function tell(ms: number, end: boolean): void {
  const msg = end ? 'the main thread hangs: the process is ended' : 'the main thread hangs';
  writeSync(STDERR, `${JSON.stringify({ level: 60, time: Date.now(), component: 'watchdog', hangsMs: ms, msg })}\n`);
}
