import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

const REDIS = new URL('../../../../services/store/redis/redis.ts', import.meta.url);
const ENDS_MS = 20_000;

test('a connection that does not come about leaves nothing behind that goes on trying', async () => {
  const script = `import { connectRedis } from '${REDIS}';
    await connectRedis('unix:/nowhere/redis.sock').catch(({ message }) => console.log(message));`;
  // The process ends by itself, for nothing is left to do.
  const args = ['--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: ENDS_MS });
  assert.match(stdout, /^unix:\/nowhere\/redis.sock: connect ENOENT/);
});
