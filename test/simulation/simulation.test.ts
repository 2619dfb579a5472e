import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';

const MAIN = new URL('./main.ts', import.meta.url).pathname;
const LIMIT_MS = 280_000;

/** Runs the command, in a process of its own: the test runner's hooks on promises would make it four times slower. */
function simulate(...args: string[]): Promise<{ summary: Record<string, number>; errors: string }> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [MAIN, ...args, '--json'], { timeout: LIMIT_MS }, (error, stdout, stderr) => {
      const last = stdout.trim().split('\n').at(-1);
      if (last) resolve({ summary: JSON.parse(last), errors: stderr });
      else reject(error ?? new Error(stderr));
    });
  });
}

test('the same seed, the same run', async () => {
  const [first, second] = await Promise.all([simulate('--seed', '7'), simulate('--seed', '7')]);
  assert.equal(first.summary['steps'], second.summary['steps']);
  assert.equal(first.summary['verdicts'], second.summary['verdicts']);
  assert(first.summary['steps']! > 10_000 && first.summary['probes']! > 100, JSON.stringify(first.summary));
});

test('a fixed set of seeds, many of which found something once', async () => {
  const { summary, errors } = await simulate('--seeds', '1:30');
  assert.equal(summary['violations'], 0, errors);
  assert.equal(summary['seeds'], 30);
});

// A seed that fails here tells of something new.
test('fresh seeds', async () => {
  const first = Math.floor(Math.random() * 2 ** 30);
  const { summary, errors } = await simulate('--seeds', `${first}:30`);
  assert.equal(summary['violations'], 0, `npm run simulate -- --seed S --hours 1 --log info:\n${errors}`);
});
