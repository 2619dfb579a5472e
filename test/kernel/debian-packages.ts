/** Debian's packages, unpacked beside the system's own files: once, and kept from run to run. */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

export const run = promisify(execFile);
/** Kept from run to run. */
const CACHE = join(import.meta.dirname, '../../node_modules/.cache/dpd-kernel');
const DOWNLOAD_MS = 120_000;
/** For apt's answers, and for each package. */
export const UNPACK_MS = 60_000;

/** The folder of a set of packages: complete, or it does not exist. */
export function folderOf(set: string): string {
  return join(CACHE, set);
}

/**
 * Downloads and unpacks a set of packages, unless it is there. Returns its folder. Rejects if apt cannot get them.
 * @param finish what else the folder needs before it is complete
 */
export async function unpacked(
  set: string,
  packages: () => Promise<readonly string[]>,
  finish: (folder: string) => Promise<unknown> = async () => {},
): Promise<string> {
  const folder = folderOf(set);
  if (existsSync(folder)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const workshop = mkdtempSync(join(CACHE, 'unpack-'));
  try {
    await run('apt-get', ['download', '-q', ...(await packages())], { cwd: workshop, timeout: DOWNLOAD_MS });
    const made = join(workshop, 'root');
    for (const deb of readdirSync(workshop).filter((file) => file.endsWith('.deb')))
      await run('dpkg-deb', ['-x', join(workshop, deb), made], { timeout: UNPACK_MS });
    await finish(made);
    renameSync(made, folder);
  } finally {
    rmSync(workshop, { recursive: true });
  }
  return folder;
}
