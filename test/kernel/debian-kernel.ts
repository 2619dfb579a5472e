/** Debian's general kernel, as its package has it: with ESP and with 9p, which the cloud kernel lacks. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { run, UNPACK_MS, unpacked } from './debian-packages.ts';

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
  const root = await unpacked(
    name,
    async () => [name],
    (made) => run('/usr/sbin/depmod', ['-b', made, releaseIn(made)], { timeout: UNPACK_MS }),
  );
  const release = releaseIn(root);
  return { image: join(root, 'boot', `vmlinuz-${release}`), release, root };
}

function releaseIn(root: string): string {
  return readdirSync(join(root, 'lib/modules'))[0]!;
}

async function packageName(): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', META_PACKAGE], { timeout: UNPACK_MS });
  const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (!name) throw new Error(`apt does not know ${META_PACKAGE}: apt-get update`);
  return name;
}
