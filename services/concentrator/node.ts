/** A node of the cluster: its shards, its API, its connection to Redis. */

import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import type { Redis } from 'ioredis';
import { Piscina } from 'piscina';
import { HeadendService, type Hello } from '../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { serverCredentials } from '../grpc/credentials.ts';
import { ApiError, toServiceError } from '../grpc/errors.ts';
import { type RunningServer, startServer } from '../grpc/server.ts';
import { serviceDefinition } from '../grpc/service.ts';
import type { Logger } from '../log.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../store/embedded-redis.ts';
import type { ShardId } from '../store/keys.ts';
import { connectRedis } from '../store/redis.ts';
import { acknowledgeVerdict, readHeadends, readLease, registerHeadend } from '../store/shard-store.ts';
import { openVault, type Vault } from '../store/vault.ts';
import { SuspicionTraces } from '../telemetry/traces.ts';
import { connectShard } from './headend-api.ts';
import * as operator from './operator-api.ts';
import type { NodeSettings } from './settings.ts';
import { ShardHost, type ShardStream } from './shard-host.ts';
import * as verdictApi from './verdict-api.ts';

/** From the drain notice to the end of the streams, ms: enough for it to arrive. */
const DRAIN_MS = 100;

const SHARD_TASK = new URL('../../workers/shard-task.ts', import.meta.url).href;

export class ConcentratorNode {
  readonly id: string;
  readonly redis: Redis;
  readonly redisUrl: string;
  readonly #settings: NodeSettings;
  readonly #log: Logger;
  readonly #vault: Vault;
  readonly #embedded: EmbeddedRedis | undefined;
  readonly #pool: Piscina;
  readonly #traces = new SuspicionTraces();
  readonly #hosts = new Map<string, ShardHost>();
  /** Shards being opened, so that two streams for one shard do not race. */
  readonly #opening = new Map<string, Promise<ShardHost>>();
  readonly #portsInUse = new Set<number>();
  readonly #stop = new AbortController();
  #server!: RunningServer;

  private constructor(
    settings: NodeSettings,
    log: Logger,
    redis: Redis,
    url: string,
    embedded: EmbeddedRedis | undefined,
  ) {
    this.id = settings.nodeId;
    this.redis = redis;
    this.redisUrl = url;
    this.#settings = settings;
    this.#log = log;
    this.#embedded = embedded;
    this.#vault = openVault(
      settings.vaultKey,
      settings.vaultKeyFile ?? (embedded ? `${settings.dataDir}/vault.key` : undefined),
      embedded !== undefined && settings.vaultKeyFile === undefined,
    );
    this.#pool = new Piscina({
      filename: SHARD_TASK,
      minThreads: settings.threads || availableParallelism(),
      maxThreads: settings.threads || availableParallelism(),
      concurrentTasksPerWorker: 1024,
      // With the default, an idle worker waits in Atomics.wait and the timers of its shards stand still.
      atomics: 'disabled',
    });
  }

  /** Starts a node: Redis first, then the shards it had, then the API. Throws SettingsError on a bad setting. */
  static async start(settings: NodeSettings, log: Logger): Promise<ConcentratorNode> {
    // What cannot be served is refused before anything runs.
    serverCredentials(settings);
    const embedded = settings.redisUrl === undefined ? await startEmbeddedRedis(settings.dataDir) : undefined;
    const url = settings.redisUrl ?? embedded!.url;
    const redis = await connectRedis(url);
    const node = new ConcentratorNode(settings, log, redis, url, embedded);
    await node.#adopt();
    node.#server = await startServer(settings, (server) => {
      server.addService(serviceDefinition(HeadendService), {
        connectShard: (call: Parameters<typeof connectShard>[2]) => connectShard(node, log, call),
      });
      server.addService(serviceDefinition(VerdictService), {
        watchVerdicts: (call: Parameters<typeof verdictApi.watchVerdicts>[1]) => {
          verdictApi.watchVerdicts(node, call).then(
            () => call.end(),
            (error) => call.emit('error', node.#answerError(error)),
          );
        },
        acknowledgeVerdict: node.#unary(verdictApi.acknowledgeVerdict),
      });
      server.addService(serviceDefinition(OperatorService), {
        getPeer: node.#unary(operator.getPeer),
        listPeers: node.#unary(operator.listPeers),
        getCounters: node.#unary(operator.getCounters),
        getClusterState: node.#unary(operator.getClusterState),
      });
    });
    log.info({ node: node.id, address: settings.address, port: node.port, shards: node.#hosts.size }, 'serving');
    return node;
  }

  /** Port the API is bound to. */
  get port(): number {
    return this.#server.port;
  }

  /** Aborted when the node is about to stop. */
  get stopping(): AbortSignal {
    return this.#stop.signal;
  }

  hosts(): ShardHost[] {
    return [...this.#hosts.values()];
  }

  /** Shards of a headend hosted here, in order. */
  hostsOf(headend: string): ShardHost[] {
    return this.hosts()
      .filter((host) => host.id.headend === headend)
      .sort((a, b) => a.id.shard - b.id.shard);
  }

  headends(): Promise<Map<string, number>> {
    return readHeadends(this.redis);
  }

  /** Makes the shard this node's and joins the stream to it. */
  async openShard(hello: Hello, stream: ShardStream): Promise<ShardHost> {
    const { headend, shard, shards } = hello;
    if (this.#stop.signal.aborted) throw new ApiError(status.UNAVAILABLE, 'this node is about to stop');
    try {
      const registered = await registerHeadend(this.redis, headend, shards);
      if (registered !== shards)
        throw new ApiError(
          status.FAILED_PRECONDITION,
          `hello.shards: ${shards}, but headend "${headend}" is registered with ${registered}`,
        );
      const host = await this.#host({ headend, shard }, shards);
      host.attach(stream);
      return host;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      this.#log.error({ headend, shard, reason: (error as Error).message }, 'shard not opened');
      throw new ApiError(status.UNAVAILABLE, `shard not opened: ${(error as Error).name}`);
    }
  }

  /** Refuses SAs beyond the node's limit with RESOURCE_EXHAUSTED. */
  admit(more: number): void {
    const held = this.hosts().reduce((sum, host) => sum + host.records.set.count, 0);
    if (held + more > this.#settings.maxPeers)
      throw new ApiError(
        status.RESOURCE_EXHAUSTED,
        `upsert.sas: ${more} more would exceed the node's limit of ${this.#settings.maxPeers} SAs`,
      );
  }

  /** Notes an acknowledgement. False if the verdict was not waiting for one. */
  async acknowledge(id: ShardId, verdictId: string, outcome: string): Promise<boolean> {
    const known = await acknowledgeVerdict(this.redis, id, verdictId);
    if (known) this.#traces.acknowledged(verdictId, outcome);
    return known;
  }

  /** Stops cleanly: checkpoints written, leases given back, then API, threads and Redis. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const host of this.hosts()) host.drain(DRAIN_MS);
    await sleep(DRAIN_MS);
    await Promise.all(this.hosts().map((host) => host.stop('node is stopping')));
    await this.#server.stop();
    await this.#pool.destroy();
    this.redis.disconnect();
    await this.#embedded?.stop();
  }

  /** A node that comes back takes up the shards it had, whether or not their headends are there already. */
  async #adopt(): Promise<void> {
    for (const [headend, shards] of await this.headends())
      for (let shard = 0; shard < shards; shard++) {
        const lease = await readLease(this.redis, { headend, shard });
        if (lease?.node === this.id) await this.#host({ headend, shard }, shards);
      }
  }

  async #host(id: ShardId, shards: number): Promise<ShardHost> {
    const key = `${id.headend}/${id.shard}`;
    const hosted = this.#hosts.get(key);
    if (hosted) return hosted;
    let opening = this.#opening.get(key);
    if (!opening) {
      opening = this.#openHost(key, id, shards).finally(() => this.#opening.delete(key));
      this.#opening.set(key, opening);
    }
    return opening;
  }

  async #openHost(key: string, id: ShardId, shards: number): Promise<ShardHost> {
    const port = this.#takePort(id.shard);
    const release = () => this.#portsInUse.delete(port);
    try {
      const host = await ShardHost.open(
        {
          redis: this.redis,
          vault: this.#vault,
          pool: this.#pool,
          node: this.id,
          traces: this.#traces,
          log: this.#log,
          probe: { address: this.#settings.probeAddress, port },
          onLost: () => {
            this.#hosts.delete(key);
            release();
          },
        },
        id,
        shards,
      );
      this.#hosts.set(key, host);
      return host;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** The port a shard always had if it is free, for the headend's rules name it; any with a base of 0. */
  #takePort(shard: number): number {
    const base = this.#settings.probePortBase;
    if (base === 0) return 0;
    let port = base + shard;
    while (this.#portsInUse.has(port)) port++;
    this.#portsInUse.add(port);
    return port;
  }

  #answerError(error: unknown): ReturnType<typeof toServiceError> {
    if (!(error instanceof ApiError)) this.#log.error({ reason: (error as Error).message }, 'request failed');
    return toServiceError(error);
  }

  #unary<Request, Response>(handle: (node: ConcentratorNode, request: Request) => Promise<Response>) {
    return (call: ServerUnaryCall<Request, Response>, reply: sendUnaryData<Response>): void => {
      handle(this, call.request).then(
        (response) => reply(null, response),
        (error) => reply(this.#answerError(error)),
      );
    };
  }
}
