/** A private redis-server for nodes that were given none: a child process, unix socket, append-only file. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

import { SettingsError } from '../../../workers/base/errors.ts';
import { connectRedis } from './redis.ts';

/** A smaller file is not rewritten: that takes a core, in a burst of writes of all times; to read it takes 3 s. */
const REWRITE_FROM = '256mb';
const START_MS = 30_000;
const STOP_MS = 5_000;
/** The shell's exit code for a program that it cannot find. */
const NOT_FOUND = 127;
/** Ends redis-server when our end of descriptor 3 closes, however this process dies: two must never share a file. */
const DIES_WITH_US = `
(cat <&3; grep -qs redis-server /proc/$$/comm && kill -TERM $$) >/dev/null 2>&1 &
exec 3<&-
exec redis-server "$@"`;

export type EmbeddedRedis = {
  /** For connectRedis. */
  readonly url: string;
  readonly process: ChildProcess;
  /** Ends the child after it has written its file. */
  stop(): Promise<void>;
};

/**
 * Starts redis-server on a data folder, made with mode 0700 if need be.
 * @throws SettingsError if redis-server is not installed, Error with its output if it does not come up
 */
export async function startEmbeddedRedis(dataDirectory: string): Promise<EmbeddedRedis> {
  const data = resolve(dataDirectory);
  mkdirSync(data, { recursive: true, mode: 0o700 });
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
  const child = spawn('sh', ['-c', DIES_WITH_US, 'redis', ...settings], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  let output = '';
  const keep = (text: Buffer) => {
    output = (output + text).slice(-2_000);
  };
  child.stdout!.on('data', keep);
  child.stderr!.on('data', keep);
  let failure: Error | undefined;
  child.on('error', (error) => {
    failure = error;
  });
  child.on('exit', (code) => {
    failure ??=
      code === NOT_FOUND
        ? new SettingsError('redis-server is not installed: `apt-get install redis-server`, or set REDIS_URL')
        : new Error(`redis-server ended with ${code}:\n${output}`);
    rmSync(sockets, { recursive: true, force: true });
    // The shell that waits for our end may go.
    (child.stdio[3] as Writable).destroy();
  });
  const deadline = Date.now() + START_MS;
  while (!existsSync(path)) {
    await sleep(20);
    if (failure) throw failure;
    if (Date.now() > deadline) throw new Error(`redis-server was not ready in ${START_MS} ms:\n${output}`);
  }
  await untilLoaded(`unix:${path}`, deadline);
  return {
    url: `unix:${path}`,
    process: child,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const force = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(force);
    },
  };
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
