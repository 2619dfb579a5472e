/**
 * The first files of the virtual machine: a busybox, the modules that reach the host's files, and two scripts. The first one puts
 * the host's root, read-only over 9p, below a tmpfs, so that everything there can be used but not changed; the second runs the
 * command and reports its exit code through a port of the machine.
 */

import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Kernel } from './debian-kernel.ts';

const run = promisify(execFile);
const COMMAND_MS = 20_000;
/** In the order in which they are loaded; what they depend on comes before them. */
const MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'];
/** Where QEMU's isa-debug-exit listens, and the name of the 9p export. */
export const EXIT_PORT = 0xf4;
export const EXPORT = 'host';

/**
 * Makes the archive. Returns its path.
 * @param directory empty, for it and its parts
 * @param command for sh, run as root with the second serial port as output
 */
export async function makeInitramfs(kernel: Kernel, directory: string, command: string): Promise<string> {
  const tree = join(directory, 'initramfs');
  for (const folder of ['bin', 'modules', 'proc', 'sys', 'dev', 'lower', 'upper', 'root'])
    mkdirSync(join(tree, folder), { recursive: true });
  copyFileSync('/usr/bin/busybox', join(tree, 'bin/busybox'));
  symlinkSync('busybox', join(tree, 'bin/sh'));
  const modules = await moduleFiles(kernel);
  for (const file of modules) copyFileSync(file, join(tree, 'modules', basename(file)));
  writeFileSync(
    join(tree, 'init'),
    initScript(
      kernel,
      modules.map((file) => basename(file)),
    ),
    { mode: 0o755 },
  );
  writeFileSync(join(tree, 'start'), startScript(command), { mode: 0o755 });
  const archive = join(directory, 'initramfs.cpio');
  await run('sh', ['-c', 'find . | cpio --quiet -o -H newc -R 0:0 >"$0"', archive], { cwd: tree, timeout: COMMAND_MS });
  return archive;
}

async function moduleFiles({ root, release }: Kernel): Promise<string[]> {
  const files = new Set<string>();
  for (const module of MODULES) {
    const args = ['-C', '/dev/null', '-d', root, '-S', release, '--show-depends', module];
    const { stdout } = await run('/usr/sbin/modprobe', args, { timeout: COMMAND_MS });
    for (const [, file] of stdout.matchAll(/^insmod (\S+)/gm)) files.add(file!);
  }
  return [...files];
}

function initScript({ root, release }: Kernel, modules: readonly string[]): string {
  return `#!/bin/sh
busybox() { /bin/busybox "$@" || { echo "failed: $*"; /bin/busybox poweroff -f; }; }
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
${modules.map((file) => `busybox insmod /modules/${file}`).join('\n')}
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 ${EXPORT} /lower
busybox mount -t tmpfs upper /upper
busybox mkdir /upper/data /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /root
busybox mount -t proc proc /root/proc
busybox mount -t sysfs sys /root/sys
busybox mount -t devtmpfs dev /root/dev
busybox mkdir -p /root/dev/pts /root/dev/shm
busybox mount -t devpts pts /root/dev/pts
busybox mount -t tmpfs shm /root/dev/shm
busybox mount -t tmpfs run /root/run
busybox mkdir -p /root/lib/modules
busybox ln -sfn ${root}/lib/modules/${release} /root/lib/modules/${release}
busybox cp /start /root/run/start
exec /bin/busybox switch_root /root /run/start
`;
}

function startScript(command: string): string {
  return `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
stty -F /dev/ttyS1 raw
( ${command} ) </dev/null >/dev/ttyS1 2>&1
code=$?
stty -F /dev/ttyS1 drain 2>/dev/null
printf "\\\\$(printf %o $code)" | dd of=/dev/port bs=1 seek=${EXIT_PORT} conv=notrunc 2>/dev/null
`;
}
