/** A virtual machine that runs Node on a kernel of ours, with this machine's files. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kernel } from './debian-kernel.ts';
import { EXIT_PORT, EXPORT, makeInitramfs } from './initramfs.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const KVM = '/dev/kvm';
/** From power on to Node, and from its end to power off. */
const BOOT_MS = 30_000;
const MEMORY_MIB = 3_072;
const CPUS = 2;

/**
 * Boots, runs Node as root in the repository's folder, and ends. Output goes to ours as it comes.
 * @param flags for Node, and what it is to run
 * @param deadlineMs for all of it
 * @returns Node's exit code
 * Rejects if the machine did not come to the end of it, with what its console said last.
 */
export async function runInVm(kernel: Kernel, flags: readonly string[], deadlineMs: number): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-kernel-'));
  try {
    const archive = await makeInitramfs(kernel, directory, commandLine(flags, deadlineMs));
    const console = join(directory, 'console');
    const vm = spawn('qemu-system-x86_64', machine(kernel, archive, console), {
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: deadlineMs,
      killSignal: 'SIGKILL',
    });
    const end = () => vm.kill('SIGKILL');
    process.once('SIGINT', end).once('SIGTERM', end);
    const [code] = (await once(vm, 'exit')) as [number | null];
    // isa-debug-exit makes 2n + 1 of n: an even code is QEMU's own.
    if (code !== null && code % 2 === 1) return code >> 1;
    const said = readFileSync(console, 'latin1').trimEnd().split('\n').slice(-20).join('\n');
    throw new Error(
      `${code === null ? `killed, or not done within ${deadlineMs} ms` : `QEMU ended with ${code}`}\n${said}`,
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** For sh. With a deadline of its own: what was said until then is told, and the machine ends even if nobody is there any more. */
function commandLine(flags: readonly string[], deadlineMs: number): string {
  const colours = process.stdout.isTTY ? [] : ['NO_COLOR=1'];
  const command = ['env', ...colours, 'timeout', String((deadlineMs - BOOT_MS) / 1_000), process.execPath, ...flags];
  return `cd ${quoted(REPOSITORY)} && ${command.map(quoted).join(' ')}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function machine(kernel: Kernel, archive: string, console: string): string[] {
  const append = 'console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on';
  return [
    // Emulated by several threads, code that V8 has just written was not always seen by all: processes hung, or V8 died of its own checks.
    ...['-accel', hasKvm() ? 'kvm' : 'tcg,thread=single'],
    ...['-cpu', 'max', '-smp', String(CPUS), '-m', String(MEMORY_MIB)],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-kernel', kernel.image, '-initrd', archive, '-append', append],
    ...['-serial', `file:${console}`, '-serial', 'stdio'],
    ...['-device', `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`],
    ...['-virtfs', `local,path=/,mount_tag=${EXPORT},security_model=none,readonly=on,multidevs=remap`],
  ];
}

/**
 * Without it the processor is emulated, some twelve times slower. There may be a device though the processor has no virtualization, as in
 * a virtual machine: with that a guest never begins.
 */
function hasKvm(): boolean {
  try {
    accessSync(KVM, constants.R_OK | constants.W_OK);
    return /^flags\s*:.* (vmx|svm)\b/m.test(readFileSync('/proc/cpuinfo', 'latin1'));
  } catch {
    return false;
  }
}
