/** A node as a process of its own, as `npm start` runs it, with its share of the machine read from the kernel. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { OperatorService } from '../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../services/api/grpc/client.ts';
import { plaintext } from '../services/api/grpc/credentials.ts';
import { SettingsError } from '../workers/base/errors.ts';
import { npmScript } from './npm-script.ts';

const ROOT = new URL('../', import.meta.url);
const START = npmScript('start');
/** A node that keeps to this machine, beside others, and to the point. */
const LOCAL = { DPD_PROBE_ADDRESS: '127.0.0.1', DPD_PROBE_PORT_BASE: '0', LOG_LEVEL: 'warn' };
const START_MS = 60_000;
const STOP_MS = 15_000;
/** Exit code of a program whose settings cannot be used. */
const SETTINGS_EXIT = 2;
/** Kernel clock ticks a second, as /proc reports CPU time. */
const TICKS_PER_S = 100;

export class NodeProcess {
  readonly process: ChildProcess;
  readonly address: string;
  #log = '';

  private constructor(process: ChildProcess, address: string) {
    this.process = process;
    this.address = address;
    process.stderr!.on('data', (text: Buffer) => {
      this.#log = (this.#log + text).slice(-20_000);
    });
  }

  /**
   * Starts a node and waits until it serves. Rejects with its last output if it does not.
   * @param prefix of the command: a program that becomes the node
   */
  static async start(
    address: string,
    env: Record<string, string>,
    prefix: readonly string[] = [],
  ): Promise<NodeProcess> {
    const [program, ...args] = [...prefix, process.execPath, ...START.args];
    const child = spawn(program!, args, {
      cwd: fileURLToPath(ROOT),
      env: { ...process.env, ...START.env, ...LOCAL, DPD_ADDRESS: address, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const node = new NodeProcess(child, address);
    const client = new ApiClient(plaintext(address, true));
    const deadline = Date.now() + START_MS;
    try {
      for (;;) {
        try {
          await client.unary(OperatorService.method.getClusterState, {}, 1_000);
          return node;
        } catch (error) {
          if (child.exitCode !== null || Date.now() > deadline) {
            await node.stop('SIGKILL');
            // A setting that cannot be used is one line, which says it all.
            if (child.exitCode === SETTINGS_EXIT) throw new SettingsError(node.#log.trim());
            throw new Error(`node did not start (${(error as Error).message}):\n${node.#log}`);
          }
          await sleep(50);
        }
      }
    } finally {
      client.close();
    }
  }

  /** Last lines the node logged. */
  get log(): string {
    return this.#log;
  }

  /** User and system CPU time so far, s. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.process.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
  }

  /** Resident memory, bytes. */
  rssBytes(): number {
    const status = readFileSync(`/proc/${this.process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
  }

  /** Ends the node: cleanly, or like a crash with SIGKILL. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, 'exit');
    this.process.kill(signal);
    const force = setTimeout(() => this.process.kill('SIGKILL'), STOP_MS);
    await exited;
    clearTimeout(force);
  }
}
