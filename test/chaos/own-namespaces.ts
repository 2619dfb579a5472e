/**
 * For tests that cut networks or fill disks: the test file starts itself again in its own namespaces, which end with it.
 */

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { skipUnless } from '../requirements.ts';

const NAMES = '/run/netns';
const INSIDE = 'DPD_OWN_NAMESPACES';
const execute = promisify(execFile);
const SKIP = skipUnless(
  { 'util-linux': ['/usr/bin/unshare'], nftables: ['/usr/sbin/nft'], iproute2: ['/usr/sbin/ip'] },
  { root: true },
);

/** Runs a command. Rejects if it fails or takes more than 10 s. */
export async function run(command: string, ...args: string[]): Promise<void> {
  await execute(command, args, { timeout: 10_000 });
}

/** Defines a file's tests inside these namespaces, where they may change network and mounts. */
export async function inOwnNamespaces(what: string, file: string, define: () => void): Promise<void> {
  if (process.env[INSIDE]) {
    await run('ip', 'link', 'set', 'lo', 'up');
    // Names of namespaces made here end with this one, too.
    mkdirSync(NAMES, { recursive: true });
    await run('mount', '-t', 'tmpfs', 'tmpfs', NAMES);
    define();
    return;
  }
  test(what, { skip: SKIP }, async (t) => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn(
      'unshare',
      ['--net', '--mount', process.execPath, '--test-reporter=spec', fileURLToPath(file)],
      {
        env: { ...env, [INSIDE]: '1' },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    t.after(() => void child.kill());
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => {
        output += text;
      });
    const [code] = await once(child, 'exit');
    for (const line of output.match(/^ *[✔✖].*$/gm) ?? []) t.diagnostic(line);
    assert.equal(code, 0, output);
  });
}
