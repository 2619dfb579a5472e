/** Debian's Libreswan, unpacked: its package cannot be installed beside strongSwan's. */

import { join } from 'node:path';
import { folderOf, run, UNPACK_MS, unpacked } from './debian-packages.ts';

const SET = 'libreswan';

/** Unpacks it with all libraries that are not on this machine, unless it is there. Rejects if apt cannot get it. */
export async function getLibreswan(): Promise<void> {
  await unpacked(SET, missing);
}

/** What apt would install for it. */
async function missing(): Promise<string[]> {
  const { stdout } = await run('apt-get', ['install', '-s', '--no-install-recommends', 'libreswan'], {
    timeout: UNPACK_MS,
  });
  const names = Array.from(stdout.matchAll(/^Inst (\S+)/gm), ([, name]) => name!);
  if (!names.includes('libreswan')) throw new Error('apt does not know libreswan: apt-get update');
  return names;
}

/** Its programs by name. */
export const PROGRAMS = {
  pluto: inFolder('usr/libexec/ipsec/pluto'),
  whack: inFolder('usr/libexec/ipsec/whack'),
  addconn: inFolder('usr/libexec/ipsec/addconn'),
  certutil: inFolder('usr/bin/certutil'),
} as const;

/** What its programs need in their environment. */
export const ENVIRONMENT = {
  LD_LIBRARY_PATH: ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'].map(inFolder).join(':'),
} as const;

function inFolder(path: string): string {
  return join(folderOf(SET), path);
}
