/** Programs that tests here run to their end. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** No npm above the programs, nothing of this run's environment, and only the system's own Node in PATH. */
export const BARE = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: tmpdir() };

/** Runs a program; it must succeed. Returns its output. */
export function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 120_000, ...options });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** Makes the npm package in a folder. Returns its path and the files in it. */
export function pack(directory: string): { readonly tarball: string; readonly files: readonly string[] } {
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', directory], { cwd: ROOT })) as {
    filename: string;
    files: { path: string }[];
  }[];
  return { tarball: `${directory}/${packed!.filename}`, files: packed!.files.map(({ path }) => path) };
}
