/** The load tool judges a small fleet as it does a large one. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

const LOAD = new URL('../../loadtest/load.ts', import.meta.url).pathname;
const RUN_MS = 60_000;

test('npm run load: every death found, none false, with traffic and without', async () => {
  const options = {
    spokes: 400,
    traffic: 50,
    kill: 20,
    interval: 2_000,
    'retry-interval': 500,
    retries: 3,
    calm: 2_000,
    shards: 2,
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const { stdout } = await promisify(execFile)(process.execPath, [LOAD, ...args, '--json'], { timeout: RUN_MS });
  const report = JSON.parse(stdout.trim().split('\n').at(-1)!);
  assert.deepEqual([report.expected, report.verdicts, report.false_verdicts, report.missed], [20, 20, 0, 0]);
  assert(report.calm_probes > 0 && report.evidence_per_s > 0, stdout);
});
