/** A private redis-server for nodes that were given none: a child process, unix socket, append-only file. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

import { SettingsError } from '../../../workers/base/errors.ts';
import { connectRedis } from './redis.ts';

/** A smaller file is not rewritten: rewriting takes a whole core, and would begin during a burst of writes. Reading the file takes 3 s. */
const REWRITE_FROM = '256mb';
const START_MS = 30_000;
const STOP_MS = 5_000;
/** The shell's exit code for a program that it cannot find. */
const NOT_FOUND = 127;
/** Ends redis-server when our end of descriptor 3 closes, however this process dies: two servers must never share a file. */
const DIES_WITH_US = `
(cat <&3; grep -qs redis-server /proc/$$/comm && kill -TERM $$) >/dev/null 2>&1 &
exec 3<&-
exec redis-server "$@"`;

/** A server that ends by itself is started again, so often within this time, ms; then it is given up. */
const MOST_RESTARTS = 5;
const RESTARTS_MS = 60_000;
const RESTART_MS = 500;

export class EmbeddedRedis {
  readonly #settings: readonly string[];
  readonly #path: string;
  readonly #sockets: string;
  /** The latest moments at which it had to be started again, ms on the process's clock. */
  readonly #restarts: number[] = [];
  /** Told of a server that ended by itself; `forGood`: it is not started again. */
  onFailure: (error: Error, forGood: boolean) => void = () => {};
  #child!: ChildProcess;
  #stopping = false;

  private constructor(settings: readonly string[], path: string, sockets: string) {
    this.#settings = settings;
    this.#path = path;
    this.#sockets = sockets;
  }

  /**
   * Starts redis-server on a data folder, made with mode 0700 if need be.
   * @throws SettingsError if redis-server is not installed, or the folder cannot be used; Error with its output if it does not come up
   */
  static async start(dataDirectory: string): Promise<EmbeddedRedis> {
    const data = resolve(dataDirectory);
    try {
      mkdirSync(data, { recursive: true, mode: 0o700 });
      chmodSync(data, 0o700);
    } catch (error) {
      throw new SettingsError(`data-dir ${data}: ${(error as NodeJS.ErrnoException).code}`);
    }
    // A unix socket's path has 107 bytes at most; a data folder's may be longer.
    const sockets = mkdtempSync(join(tmpdir(), 'dpd-redis-'));
    const path = join(sockets, 'redis.sock');
    const pidFile = join(data, 'redis.pid');
    await formerGone(pidFile);
    // biome-ignore format: one setting a line
    const settings = [
      '--port', '0',
      '--unixsocket', path,
      '--unixsocketperm', '700',
      '--dir', data,
      '--pidfile', pidFile,
      '--appendonly', 'yes',
      '--appendfsync', 'everysec',
      '--auto-aof-rewrite-min-size', REWRITE_FROM,
      '--save', '',
      '--daemonize', 'no',
    ];
    const redis = new EmbeddedRedis(settings, path, sockets);
    try {
      await redis.#run();
    } catch (error) {
      rmSync(sockets, { recursive: true, force: true });
      throw error;
    }
    return redis;
  }

  /** For connectRedis. */
  get url(): string {
    return `unix:${this.#path}`;
  }

  /** Ends the server after it has written its file. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const child = this.#child;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const force = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(force);
    }
    rmSync(this.#sockets, { recursive: true, force: true });
  }

  /** Starts the server and waits until it has read its file. */
  async #run(): Promise<void> {
    // A separate session: signals that a terminal or a supervisor sends to our group are for us only, and we end the server in time.
    const child = spawn('sh', ['-c', DIES_WITH_US, 'redis', ...this.#settings], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child = child;
    let output = '';
    const keep = (text: Buffer) => {
      output = (output + text).slice(-2_000);
    };
    child.stdout!.on('data', keep);
    child.stderr!.on('data', keep);
    let failure: Error | undefined;
    let running = false;
    child.on('error', (error) => {
      failure = error;
    });
    child.on('exit', (code, signal) => {
      failure ??=
        code === NOT_FOUND
          ? new SettingsError('redis-server is not installed: `apt-get install redis-server`, or set REDIS_URL')
          : new Error(`redis-server ended with ${signal ?? code}:\n${output}`);
      // The shell that waits for our end may exit.
      (child.stdio[3] as Writable).destroy();
      if (running && !this.#stopping) this.#again(failure);
    });
    const deadline = Date.now() + START_MS;
    try {
      while (!existsSync(this.#path)) {
        await sleep(20);
        if (failure) throw failure;
        if (Date.now() > deadline) throw new Error(`redis-server was not ready in ${START_MS} ms:\n${output}`);
      }
      await untilLoaded(this.url, deadline);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    running = true;
  }

  /** Clients connect to the same path again by themselves. */
  #again(failure: Error): void {
    const now = performance.now();
    while (this.#restarts.length > 0 && now - this.#restarts[0]! > RESTARTS_MS) this.#restarts.shift();
    const forGood = this.#restarts.push(now) > MOST_RESTARTS;
    this.onFailure(failure, forGood);
    if (forGood) return;
    rmSync(this.#path, { force: true });
    setTimeout(() => {
      if (!this.#stopping) this.#run().catch((error: Error) => this.#again(error));
    }, RESTART_MS);
  }
}

/** Waits for the server of a process that died to write its file and go. */
async function formerGone(pidFile: string): Promise<void> {
  const deadline = Date.now() + STOP_MS;
  while (existsSync(pidFile)) {
    const pid = Number(readFileSync(pidFile, 'utf8'));
    if (
      !pid ||
      !existsSync(`/proc/${pid}/exe`) ||
      !readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('redis-server')
    )
      return;
    if (Date.now() > deadline)
      throw new SettingsError(`data-dir: redis-server ${pid} still uses it; is another node running there?`);
    await sleep(50);
  }
}

async function untilLoaded(url: string, deadline: number): Promise<void> {
  for (;;) {
    try {
      const redis = await connectRedis(url);
      await redis.ping().finally(() => redis.disconnect());
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(50);
    }
  }
}
