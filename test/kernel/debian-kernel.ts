/** Debian's general kernel, as its package has it: with ESP and with 9p, which the cloud kernel lacks. Unpacked once, and kept. */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** Kept from run to run. */
const CACHE = join(import.meta.dirname, '../../node_modules/.cache/dpd-kernel');
const DOWNLOAD_MS = 120_000;
const UNPACK_MS = 60_000;
/** Depends on the newest kernel's own package. */
const META_PACKAGE = 'linux-image-amd64';

export type Kernel = {
  /** Bootable file. */
  readonly image: string;
  /** Release, as `uname -r` gives it. */
  readonly release: string;
  /** Folder that has lib/modules/RELEASE. */
  readonly root: string;
};

/** The kernel, from the cache or by apt. Rejects if apt does not know of it or cannot get it. */
export async function debianKernel(): Promise<Kernel> {
  const name = await packageName();
  const root = join(CACHE, name);
  if (!existsSync(root)) await unpack(name, root);
  const [release] = readdirSync(join(root, 'lib/modules'));
  return { image: join(root, 'boot', `vmlinuz-${release}`), release: release!, root };
}

async function packageName(): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', META_PACKAGE], { timeout: UNPACK_MS });
  const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (!name) throw new Error(`apt does not know ${META_PACKAGE}: apt-get update`);
  return name;
}

/** The folder is complete or does not exist: it is made elsewhere and then moved. */
async function unpack(name: string, root: string): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  const workshop = mkdtempSync(join(CACHE, 'unpack-'));
  try {
    await run('apt-get', ['download', '-q', name], { cwd: workshop, timeout: DOWNLOAD_MS });
    const deb = readdirSync(workshop).find((file) => file.endsWith('.deb'))!;
    const made = join(workshop, 'root');
    await run('dpkg-deb', ['-x', join(workshop, deb), made], { timeout: UNPACK_MS });
    const [release] = readdirSync(join(made, 'lib/modules'));
    await run('/usr/sbin/depmod', ['-b', made, release!], { timeout: UNPACK_MS });
    renameSync(made, root);
  } finally {
    rmSync(workshop, { recursive: true });
  }
}
