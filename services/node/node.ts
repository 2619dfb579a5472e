/** A node of the cluster as a process: a concentrator with its Redis, its threads and its API. */

import { availableParallelism, hostname } from 'node:os';
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { Piscina } from 'piscina';
import { HeadendService } from '../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { serverCredentials } from '../api/grpc/credentials.ts';
import { ApiError, toServiceError } from '../api/grpc/errors.ts';
import { type RunningServer, startServer } from '../api/grpc/server.ts';
import { serviceDefinition } from '../api/grpc/service.ts';
import { systemClock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { FailoverQueue, FailoverWorker } from '../failover/queue.ts';
import { Pursuer } from '../failover/reconciler.ts';
import { joinBus } from '../store/cluster/bus.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../store/redis/embedded-redis.ts';
import { connectRedis, type RedisClient } from '../store/redis/redis.ts';
import type { StoreContext } from '../store/shard/shard-store.ts';
import { openVault } from '../store/vault.ts';
import { SuspicionTraces } from '../telemetry/traces.ts';
import { connectShard } from './api/headend/connect-shard.ts';
import * as operator from './api/operator/list-peers.ts';
import * as deadLetters from './api/operator/settle-dead-letters.ts';
import * as verdictApi from './api/verdicts/watch-verdicts.ts';
import { Concentrator } from './cluster/cluster-node.ts';
import { Sites } from './records/sites.ts';
import type { NodeSettings } from './settings.ts';
import type { ShardHost } from './shard/hosted-shard.ts';
import { ShardThread } from './shard/shard-thread.ts';
import { StormGuard } from './verdicts/storm-guard.ts';

/** Young generation of a thread's heap, MiB: its peers are in typed arrays, and what it makes is soon forgotten. */
const THREAD_YOUNG_MB = 12;
const SHARD_TASK = new URL('../../workers/shard/task.ts', import.meta.url).href;

/** What a node is made of besides its concentrator. */
type Parts = {
  readonly redis: RedisClient;
  readonly replicated: StoreContext['replicated'];
  readonly url: string;
  readonly embedded: EmbeddedRedis | undefined;
  readonly pool: Piscina;
  readonly queue: FailoverQueue;
  readonly worker: FailoverWorker | undefined;
  readonly pursuer: Pursuer;
};

export class ConcentratorNode {
  readonly id: string;
  readonly redis: RedisClient;
  readonly redisUrl: string;
  readonly settings: NodeSettings;
  readonly concentrator: Concentrator;
  readonly #log: Logger;
  readonly #parts: Parts;
  readonly #stop = new AbortController();
  #server!: RunningServer;

  private constructor(settings: NodeSettings, log: Logger, parts: Parts, concentrator: Concentrator) {
    this.id = settings.nodeId;
    this.redis = parts.redis;
    this.redisUrl = parts.url;
    this.settings = settings;
    this.concentrator = concentrator;
    this.#log = log;
    this.#parts = parts;
  }

  /** Starts a node: Redis first, then the shards it had, then the API. Throws SettingsError on a bad setting. */
  static async start(settings: NodeSettings, log: Logger): Promise<ConcentratorNode> {
    // What cannot be served is refused before anything runs.
    serverCredentials(settings);
    const embedded = settings.redisUrl === undefined ? await startEmbeddedRedis(settings.dataDir) : undefined;
    const url = settings.redisUrl ?? embedded!.url;
    const redis = await connectRedis(url);
    const replicas = settings.redisReplicas;
    const replicated = replicas > 0 ? { redis: await connectRedis(url), replicas } : undefined;
    const threads = settings.threads || availableParallelism();
    const pool = new Piscina({
      filename: SHARD_TASK,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1024,
      // With the default, an idle worker waits in Atomics.wait and the timers of its shards stand still.
      atomics: 'disabled',
      resourceLimits: { maxYoungGenerationSizeMb: THREAD_YOUNG_MB },
    });
    const vault = vaultOf(settings, embedded);
    const queue = new FailoverQueue(url);
    let node: ConcentratorNode | undefined;
    const sites = new Sites();
    const concentrator = await Concentrator.start({
      store: { redis, node: settings.nodeId, replicated },
      joinBus: (hear) => joinBus(redis, url, hear),
      startTask: (probe, onEvent) => new ShardThread(pool, probe, settings.probeRate / threads, vault.key, onEvent),
      clock: systemClock,
      traces: new SuspicionTraces(),
      log,
      sites,
      storm: new StormGuard(
        { share: settings.stormShare / 100, count: settings.stormCount, windowMs: settings.stormWindow },
        systemClock,
        (site) => sites.name(site),
      ),
      hold: {
        longestMs: settings.stormHold,
        onExpiry: settings.stormThen,
        releasePerSecond: settings.stormReleaseRate,
      },
      wakeFailover: (id, shards) => {
        // The shard's housekeeping looks again.
        queue.wake(id, shards).catch((error: Error) => log.warn({ ...id, reason: error.message }, 'no job made'));
      },
      probeAddress: settings.probeAddress,
      probeAdvertised: settings.probeAdvertise ?? (settings.probeAddress === ANY ? '' : settings.probeAddress),
      probePortBase: settings.probePortBase,
      maxPeers: settings.maxPeers,
      headendPeers: settings.headendPeers || settings.maxPeers,
      advertised: () => settings.advertise ?? reachable(settings.address, node?.port ?? 0),
    });
    const pursuer = new Pursuer({
      redis,
      bus: concentrator.bus,
      clock: systemClock,
      log,
      limits: { deadlineMs: settings.failoverDeadline },
    });
    const worker = settings.failover === 'inside' ? new FailoverWorker(url, pursuer, log) : undefined;
    node = new ConcentratorNode(
      settings,
      log,
      { redis, replicated, url, embedded, pool, queue, worker, pursuer },
      concentrator,
    );
    await node.#serve();
    await concentrator.join();
    return node;
  }

  /** Port the API is bound to. */
  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** Aborted when the node is about to stop. */
  get stopping(): AbortSignal {
    return this.#stop.signal;
  }

  /** What this node's failover worker has done. */
  get failovers(): Pursuer['counters'] {
    return this.#parts.pursuer.counters;
  }

  hosts(): ShardHost[] {
    return this.concentrator.shards.hosts();
  }

  /** Stops cleanly: shards given away, then API, threads and Redis. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.concentrator.stop(this.settings.drain);
    await this.#server.stop();
    const { worker, queue, pool, embedded, replicated } = this.#parts;
    await worker?.close();
    await queue.close();
    await pool.destroy();
    this.redis.disconnect();
    replicated?.redis.disconnect();
    await embedded?.stop();
  }

  async #serve(): Promise<void> {
    const { concentrator } = this;
    this.#server = await startServer(this.settings, (server) => {
      server.addService(serviceDefinition(HeadendService, [HeadendService.method.connectShard]), {
        connectShard: (call: Parameters<typeof connectShard>[2]) => connectShard(concentrator, this.#log, call),
      });
      server.addService(serviceDefinition(VerdictService), {
        watchVerdicts: (call: Parameters<typeof verdictApi.watchVerdicts>[1]) => {
          verdictApi.watchVerdicts(this, call).then(
            () => call.end(),
            (error) => call.emit('error', this.#answerError(error)),
          );
        },
        acknowledgeVerdict: this.#unary(verdictApi.acknowledgeVerdict),
      });
      server.addService(serviceDefinition(OperatorService), {
        getPeer: this.#unary(operator.getPeer),
        listPeers: this.#unary(operator.listPeers),
        getCounters: this.#unary(operator.getCounters),
        getClusterState: this.#unary(operator.getClusterState),
        setDraining: this.#unary(operator.setDraining),
        listHeldVerdicts: this.#unary(operator.listHeldVerdicts),
        settleHeldVerdicts: this.#unary(operator.settleHeldVerdicts),
        listDeadLetters: this.#unary(deadLetters.listDeadLetters),
        settleDeadLetters: this.#unary(deadLetters.settleDeadLetters),
      });
    });
    const { address } = this.settings;
    this.#log.info({ node: this.id, address, port: this.port, shards: this.hosts().length }, 'serving');
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

const ANY = '0.0.0.0';

/** Where others reach what is bound to `address`. */
function reachable(address: string, port: number): string {
  if (address.startsWith('unix:')) return address;
  const host = address.replace(/:\d+$/, '');
  return `${host === ANY || host === '[::]' ? hostname() : host}:${port}`;
}

function vaultOf({ vaultKey, vaultKeyFile, dataDir }: NodeSettings, embedded: EmbeddedRedis | undefined) {
  return openVault(
    vaultKey,
    vaultKeyFile ?? (embedded ? `${dataDir}/vault.key` : undefined),
    embedded !== undefined && vaultKeyFile === undefined,
  );
}
