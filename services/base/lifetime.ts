/** How a program ends: cleanly, on the first signal, even if other processes of its group get the signal, too. */

import type { Logger } from './log.ts';

/** A terminal, npm and a supervisor may each pass the same signal on within so long, ms. */
const SAME_MS = 2_000;
/** Exit code of a program that got a second signal. */
const FORCED = 130;

/**
 * Runs `stop` on SIGTERM or SIGINT, then exits with 0. A second signal later ends the program at once. SIGHUP, from a terminal
 * that closes or a reload, ends nothing: files are read again, see watch-files.ts.
 * @returns what begins the same for another reason
 */
export function stopOnSignal(log: Logger, stop: () => Promise<void>): (reason: string) => void {
  let begunAt: number | undefined;
  const begin = (reason: string) => {
    const now = performance.now();
    if (begunAt !== undefined) {
      if (now - begunAt > SAME_MS) process.exit(FORCED);
      return;
    }
    begunAt = now;
    log.info({ reason }, 'stopping');
    stop().then(
      () => process.exit(0),
      (error: Error) => {
        log.error({ reason: error.message }, 'not stopped cleanly');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', begin);
  process.on('SIGINT', begin);
  process.on('SIGHUP', () => {});
  return begin;
}

/** Waits for a promise that may hang, at most so long, ms. Never rejects. */
export async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const timer = Promise.withResolvers<void>();
  const timeout = setTimeout(timer.resolve, ms);
  await Promise.race([work, timer.promise]).catch(() => {});
  clearTimeout(timeout);
}
