/** Real Redis servers for chaos tests: one with a replica and Sentinels, or a Cluster. On loopback ports of their own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort } from '../../loadtest/free-port.ts';
import { eventually } from '../eventually.ts';

const UP_MS = 20_000;

/** One redis-server or Sentinel process. */
export class Server {
  readonly port: number;
  readonly #directory: string;
  readonly #args: readonly string[];
  process!: ChildProcess;

  constructor(directory: string, port: number, args: readonly string[]) {
    this.#directory = directory;
    this.port = port;
    this.#args = args;
  }

  /** Starts it, again with what its file holds. */
  async start(): Promise<void> {
    this.process = spawn('redis-server', this.#args, { cwd: this.#directory, stdio: 'ignore' });
    await eventually(
      `Redis on ${this.port}`,
      UP_MS,
      async () => (await this.command('ping').catch(() => '')) === 'PONG',
    );
  }

  async command(name: string, ...args: (string | number)[]): Promise<unknown> {
    const redis = new Redis({
      port: this.port,
      host: '127.0.0.1',
      lazyConnect: true,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    redis.on('error', () => {});
    try {
      await redis.connect();
      return await redis.call(name, ...args);
    } finally {
      redis.disconnect();
    }
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, 'exit');
    this.process.kill(signal);
    await gone;
  }
}

/** Servers that belong together. */
export class RedisServers {
  readonly url: string;
  readonly servers: readonly Server[];
  readonly #directory: string;

  private constructor(url: string, servers: readonly Server[], directory: string) {
    this.url = url;
    this.servers = servers;
    this.#directory = directory;
  }

  /** One server, with an append-only file. */
  static async single(args: readonly string[] = []): Promise<RedisServers> {
    const directory = mkdtempSync(join(tmpdir(), 'dpd-chaos-redis-'));
    const [port] = await freePorts(1);
    const server = new Server(directory, port!, ['--port', String(port), '--appendonly', 'yes', '--save', '', ...args]);
    await server.start();
    return new RedisServers(`redis://127.0.0.1:${port}`, [server], directory);
  }

  /** A master, a replica and three Sentinels; servers[0] is the master at first, servers[1] the replica. */
  static async sentinel(): Promise<RedisServers> {
    const directory = mkdtempSync(join(tmpdir(), 'dpd-chaos-sentinel-'));
    const [master, replica, ...sentinels] = await freePorts(5);
    const plain = ['--save', '', '--appendonly', 'no'];
    const servers = [
      new Server(directory, master!, ['--port', String(master), ...plain]),
      new Server(directory, replica!, [
        '--port',
        String(replica),
        ...plain,
        '--replicaof',
        '127.0.0.1',
        String(master),
      ]),
      ...sentinels.map((port) => {
        const file = join(directory, `sentinel-${port}.conf`);
        writeFileSync(
          file,
          [
            `port ${port}`,
            `sentinel monitor mymaster 127.0.0.1 ${master} 2`,
            'sentinel down-after-milliseconds mymaster 1000',
            'sentinel failover-timeout mymaster 5000',
            '',
          ].join('\n'),
        );
        return new Server(directory, port, [file, '--sentinel']);
      }),
    ];
    for (const server of servers) await server.start();
    await eventually('the Sentinels know replica and each other', UP_MS, async () => {
      const [state] = (await servers[2]!.command('SENTINEL', 'masters')) as string[][];
      const value = (name: string) => Number(state![state!.indexOf(name) + 1]);
      return value('num-slaves') === 1 && value('num-other-sentinels') === 2;
    });
    const list = sentinels.map((port) => `127.0.0.1:${port}`).join(',');
    return new RedisServers(`redis+sentinel://${list}/mymaster`, servers, directory);
  }

  /** Three masters with a replica each; servers[0] to [2] are the masters at first. */
  static async cluster(): Promise<RedisServers> {
    const directory = mkdtempSync(join(tmpdir(), 'dpd-chaos-cluster-'));
    const ports = await freePorts(6);
    const servers = ports.map(
      (port) =>
        new Server(directory, port, [
          ...['--port', String(port), '--cluster-enabled', 'yes', '--cluster-config-file', `nodes-${port}.conf`],
          ...['--cluster-node-timeout', '1500', '--save', '', '--appendonly', 'no', '--dbfilename', `${port}.rdb`],
        ]),
    );
    for (const server of servers) await server.start();
    const addresses = ports.map((port) => `127.0.0.1:${port}`);
    const make = spawn('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes'], {
      stdio: 'ignore',
    });
    await once(make, 'exit');
    await eventually('the Cluster is whole', UP_MS, async () => {
      const infos = await Promise.all(servers.map((server) => server.command('CLUSTER', 'INFO')));
      return infos.every((info) => /cluster_state:ok/.test(String(info)) && /cluster_known_nodes:6/.test(String(info)));
    });
    return new RedisServers(`redis+cluster://${addresses.join(',')}`, servers, directory);
  }

  async stop(): Promise<void> {
    for (const server of this.servers) {
      server.process.kill('SIGCONT');
      await server.kill();
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = await freePort();
    // Redis Cluster talks on a second port, 10,000 above.
    if (port < 55_000 && !ports.includes(port)) ports.push(port);
  }
  return ports;
}
