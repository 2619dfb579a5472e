/** Tests that cut networks or fill disks: their file starts itself again in namespaces of its own, which end with it. */

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const NAMES = '/run/netns';
const INSIDE = 'DPD_OWN_NAMESPACES';
const execute = promisify(execFile);

/** Runs a command. Rejects if it fails or takes more than 10 s. */
export async function run(command: string, ...args: string[]): Promise<void> {
  await execute(command, args, { timeout: 10_000 });
}

/** Defines a file's tests where they may do what they like to network and mounts. */
export async function inOwnNamespaces(what: string, file: string, define: () => void): Promise<void> {
  if (process.env[INSIDE]) {
    await run('ip', 'link', 'set', 'lo', 'up');
    // Names of namespaces made here end with this one, too.
    mkdirSync(NAMES, { recursive: true });
    await run('mount', '-t', 'tmpfs', 'tmpfs', NAMES);
    define();
    return;
  }
  test(what, { skip: unavailable() ?? false }, async (t) => {
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

/** Why this cannot be done here, or undefined if it can. In CI it must. */
function unavailable(): string | undefined {
  const missing = ['/usr/bin/unshare', '/usr/sbin/nft', '/usr/sbin/ip'].filter((path) => !existsSync(path));
  const why =
    process.getuid?.() !== 0
      ? 'needs root for namespaces'
      : missing.length > 0
        ? `needs ${missing.join(' ')}`
        : undefined;
  if (why && process.env['CI']) throw new Error(`must run in CI: ${why}`);
  return why;
}
