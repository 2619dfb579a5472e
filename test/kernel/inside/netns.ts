/** Network namespaces: programs run there, and sockets opened there by this very thread. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { nativeFunctions } from '../../../workers/base/ffi.ts';

const execute = promisify(execFile);
/** The processor is emulated. */
const COMMAND_MS = 60_000;
const CLONE_NEWNET = 0x40000000;
const libc = nativeFunctions({ setns: { return: 'int32', arguments: ['int32', 'int32'] } })!;

/** Runs a program and returns its output. Rejects if it fails or takes a minute. */
export async function run(program: string, ...args: readonly string[]): Promise<string> {
  return (await execute(program, args, { timeout: COMMAND_MS })).stdout;
}

export class Namespace {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  /** Makes one, with its loopback up. */
  static async make(name: string): Promise<Namespace> {
    await run('ip', 'netns', 'add', name);
    const namespace = new Namespace(name);
    await namespace.ip('link', 'set', 'lo', 'up');
    return namespace;
  }

  /** ip(8) on the namespace's devices. */
  ip(...args: readonly string[]): Promise<string> {
    return run('ip', '-n', this.name, ...args);
  }

  /** Runs a program to its end. */
  run(...command: readonly string[]): Promise<string> {
    return run('ip', 'netns', 'exec', this.name, ...command);
  }

  /** Starts a program; execve all the way, so that a signal to the process is one to the program. */
  spawn(command: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    return spawn('ip', ['netns', 'exec', this.name, ...command], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }

  /** What `open` opens belongs to the namespace: this thread is there until it returns. */
  enter<T>(open: () => T): T {
    const home = openSync('/proc/thread-self/ns/net', 'r');
    const there = openSync(`/run/netns/${this.name}`, 'r');
    try {
      if (libc.setns(there, CLONE_NEWNET) !== 0) throw new Error(`cannot enter ${this.name}`);
      return open();
    } finally {
      libc.setns(home, CLONE_NEWNET);
      closeSync(there);
      closeSync(home);
    }
  }

  async remove(): Promise<void> {
    await run('ip', 'netns', 'del', this.name);
  }
}
