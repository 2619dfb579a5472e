/** The simulator as a test runs it. */

import { execFile } from 'node:child_process';

const MAIN = new URL('./main.ts', import.meta.url).pathname;
const LIMIT_MS = 280_000;

/** Runs the command, in a process of its own: the test runner's hooks on promises would make it four times slower. */
export function simulate(...args: string[]): Promise<{ summary: Record<string, number>; errors: string }> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [MAIN, ...args, '--json'], { timeout: LIMIT_MS }, (error, stdout, stderr) => {
      const last = stdout.trim().split('\n').at(-1);
      if (last) resolve({ summary: JSON.parse(last), errors: stderr });
      else reject(error ?? new Error(stderr));
    });
  });
}
