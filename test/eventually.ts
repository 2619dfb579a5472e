import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until `check` holds, asking every `everyMs`. Rejects after `ms`, naming what was waited for. */
export async function eventually(
  what: string,
  ms: number,
  check: () => boolean | Promise<boolean>,
  everyMs = 20,
): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(everyMs);
  }
}
