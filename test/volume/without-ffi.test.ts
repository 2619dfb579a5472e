/** Where neither the C library nor OpenSSL can be called directly, all goes Node's own way: slower, the same. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const FILES = ['test/workers/ikev2/*.test.ts', 'test/workers/keys/vault.test.ts', 'test/integration/verdicts.test.ts'];

test('without node:ffi keys are sealed and opened, probes sent and answered, and deaths found', () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const run = spawnSync(process.execPath, ['--no-experimental-ffi', '--test', ...FILES], {
    cwd: new URL('../..', import.meta.url),
    env,
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.equal(run.status, 0, run.stdout);
  assert.match(run.stdout, /tests [1-9]\d/);
});
