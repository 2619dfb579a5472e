/** A node as a process: its place in the cluster, with its Redis, its threads and its API. */

import { availableParallelism, hostname } from 'node:os';
import { Piscina } from 'piscina';
import { SettingsError } from '../../workers/base/errors.ts';
import { staysOnHost, tlsFilesOf } from '../api/grpc/credentials.ts';
import type { RunningServer } from '../api/grpc/server.ts';
import type { TlsFiles } from '../api/grpc/tls-files.ts';
import { systemClock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { Refusals } from '../base/refusals.ts';
import { Seldom } from '../base/seldom.ts';
import { FailoverQueue, FailoverWorker } from '../failover/queue.ts';
import { FailoverReconciler } from '../failover/reconciler.ts';
import { joinBus } from '../store/cluster/bus.ts';
import type { OnRefused } from '../store/record.ts';
import type { EmbeddedRedis } from '../store/redis/embedded-redis.ts';
import { connectRedis, type RedisClient } from '../store/redis/redis.ts';
import type { StoreContext } from '../store/shard/shard-store.ts';
import type { Metric } from '../telemetry/metrics.ts';
import { SuspicionTraces } from '../telemetry/traces.ts';
import { Access } from './access/access.ts';
import { Admission } from './access/admission.ts';
import { Audit } from './access/audit.ts';
import { serveApi } from './api/serve.ts';
import { ClusterNode } from './cluster/cluster-node.ts';
import { keepHealth, whyNotServing } from './health.ts';
import { NodeKeys } from './keys.ts';
import { readMetrics } from './metrics.ts';
import { openRedis } from './open-redis.ts';
import { Sites } from './records/sites.ts';
import type { NodeSettings } from './settings.ts';
import { ShardThread } from './shard/shard-thread.ts';
import { StormGuard } from './verdicts/storm-guard.ts';

/**
 * Young generation of a thread's heap, MiB: peers are in typed arrays, and other objects live for a short time only.
 */
const THREAD_YOUNG_MB = 12;
/** Shards of a thread at most. */
const THREAD_SHARDS = 1_024;
const SHARD_TASK = new URL('../../workers/shard/task.ts', import.meta.url).href;

/** What a node is made of besides its place in the cluster. */
type Parts = {
  readonly access: Access;
  readonly admission: Admission;
  readonly keys: NodeKeys;
  /** Keys are not read again. */
  readonly endKeys: () => void;
  /** Undefined: plaintext. */
  readonly tls: TlsFiles | undefined;
  readonly redis: RedisClient;
  readonly replicated: StoreContext['replicated'];
  readonly embedded: EmbeddedRedis | undefined;
  readonly pool: Piscina;
  readonly queue: FailoverQueue;
  readonly worker: FailoverWorker | undefined;
  readonly reconciler: FailoverReconciler;
  readonly refusals: Refusals;
};

export class DpdNode {
  readonly redisUrl: string;
  readonly cluster: ClusterNode;
  readonly #settings: NodeSettings;
  readonly #parts: Parts;
  readonly #stop = new AbortController();
  #server: RunningServer | undefined;
  #endHealth = () => {};

  private constructor(settings: NodeSettings, redisUrl: string, cluster: ClusterNode, parts: Parts) {
    this.redisUrl = redisUrl;
    this.cluster = cluster;
    this.#settings = settings;
    this.#parts = parts;
  }

  /** Starts a node: Redis first, then the shards it had, then the API. Throws SettingsError on a bad setting. */
  static async start(settings: NodeSettings, log: Logger): Promise<DpdNode> {
    // Bad settings are refused before anything runs.
    const tls = tlsFilesOf(settings);
    const access = openAccess(settings, tls, log);
    const { url, redis, embedded } = await openRedis(settings, log);
    const replicas = settings.redisReplicas;
    const replicated = replicas > 0 ? { redis: await connectRedis(url), replicas } : undefined;
    const threads = threadsOf(settings);
    const pool = new Piscina({
      filename: SHARD_TASK,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: THREAD_SHARDS,
      // With the default, an idle worker waits in Atomics.wait and the timers of its shards stand still.
      atomics: 'disabled',
      resourceLimits: { maxYoungGenerationSizeMb: THREAD_YOUNG_MB },
    });
    const keys = await NodeKeys.open(settings, embedded !== undefined, redis, log);
    const { vault, mac } = keys;
    const outages = new Seldom(log, systemClock.now);
    const queue = new FailoverQueue(url, outages);
    let node: DpdNode | undefined;
    const sites = new Sites();
    const refusals = new Refusals(log);
    const refused: OnRefused = (error) => refusals.note('redis', error.message);
    const cluster = await ClusterNode.start({
      store: { redis, mac, node: settings.nodeId, replicated, refused },
      joinBus: (onMessage) => joinBus({ redis, url, mac }, onMessage, (reason) => refusals.note('bus', reason)),
      startTask: (probe, onEvent) => new ShardThread(pool, probe, settings.probeRate / threads, vault.keys, onEvent),
      clock: systemClock,
      noteEvents: true,
      vault,
      traces: new SuspicionTraces(),
      log,
      outages,
      sites,
      storm: new StormGuard(
        { share: settings.stormShare / 100, count: settings.stormCount, windowMs: settings.stormWindow },
        systemClock,
        (site) => sites.name(site),
      ),
      hold: {
        longestMs: settings.stormHold,
        smallMs: settings.stormSmallHold,
        onExpiry: settings.stormThen,
        releasePerSecond: settings.stormReleaseRate,
      },
      wakeFailover: (id, now) => {
        // The shard's housekeeping looks again.
        (now ? queue.hurry(id) : queue.wake(id)).catch((error: Error) =>
          outages.warn({ ...id, reason: error.message }, 'no job made'),
        );
      },
      probeAddress: settings.probeAddress,
      probeAddress6: settings.probeAddress6,
      probeAdvertised: {
        v4: settings.probeAdvertise ?? (settings.probeAddress === ANY ? '' : settings.probeAddress),
        v6: settings.probeAddress6 === undefined || settings.probeAddress6 === ANY6 ? '' : settings.probeAddress6,
      },
      probePortBase: settings.probePortBase,
      maxPeers: settings.maxPeers,
      maxShards: mostShards(settings),
      headendPeers: settings.headendPeers || settings.maxPeers,
      defaultPolicy: settings.defaultPolicy,
      // For calls in the same process, as in tests.
      loopback: staysOnHost(settings.address),
      advertised: () => settings.advertise ?? reachable(settings.address, node?.port ?? 0),
    });
    const limits = { deadlineMs: settings.failoverDeadline };
    const reconciler = new FailoverReconciler({
      redis,
      mac,
      refused,
      bus: cluster.bus,
      clock: systemClock,
      log,
      limits,
    });
    const worker = settings.failover === 'inside' ? new FailoverWorker(url, reconciler, outages) : undefined;
    const endKeys = keys.follow(cluster.shards);
    const parts = {
      access,
      admission: new Admission(access, tls?.revocations, systemClock),
      keys,
      endKeys,
      tls,
      redis,
      replicated,
      embedded,
      pool,
      queue,
      worker,
      reconciler,
      refusals,
    };
    node = new DpdNode(settings, url, cluster, parts);
    await node.#serve(log);
    await cluster.join();
    return node;
  }

  /** Port the API is bound to. */
  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** Everything that is exported of this node, as it is now. */
  metrics(): Promise<Metric[]> {
    return readMetrics(this.cluster, this.#parts.reconciler.counters, this.#parts.refusals);
  }

  /** Why headends should not come here now, or undefined if they may; as grpc.health.v1 has it for HeadendService. */
  notReady(): string | undefined {
    if (this.#stop.signal.aborted) return 'stopping';
    return whyNotServing(this.cluster);
  }

  /** Stops cleanly: shards given away, then API, threads and Redis. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#endHealth();
    await this.cluster.stop(this.#settings.drain);
    await this.#server?.stop();
    const { access, admission, endKeys, redis, replicated, embedded, pool, queue, worker } = this.#parts;
    access.close();
    admission.close();
    endKeys();
    await worker?.close();
    await queue.close();
    await pool.destroy();
    redis.disconnect();
    replicated?.redis.disconnect();
    await embedded?.stop();
  }

  async #serve(log: Logger): Promise<void> {
    const { cluster, redisUrl } = this;
    const { access, admission, keys, tls, redis } = this.#parts;
    this.#server = await serveApi(this.#settings.address, tls, admission, {
      cluster,
      access,
      audit: new Audit(redis, cluster.id, log),
      redis,
      mac: keys.mac,
      redisUrl,
      clock: systemClock,
      log,
      drainMs: this.#settings.drain,
      stopping: this.#stop.signal,
    });
    const { address } = this.#settings;
    this.#endHealth = keepHealth(this.#server.health, cluster, systemClock);
    log.info({ node: cluster.id, address, port: this.port, shards: cluster.shards.hosted().length }, 'serving');
  }
}

function threadsOf({ threads }: NodeSettings): number {
  return threads || availableParallelism();
}

/** Shards that a node has places for. Each has two sockets, with IPv6. */
export function mostShards(settings: NodeSettings): number {
  return threadsOf(settings) * THREAD_SHARDS;
}

const ANY = '0.0.0.0';
const ANY6 = '::';

/** Where others reach what is bound to `address`. */
function reachable(address: string, port: number): string {
  if (address.startsWith('unix:')) return address;
  const host = address.replace(/:\d+$/, '');
  return `${host === ANY || host === '[::]' ? hostname() : host}:${port}`;
}

/** Throws SettingsError if the settings of access would let no caller, or every caller, do anything. */
function openAccess({ access, trustDomain }: NodeSettings, tls: TlsFiles | undefined, log: Logger): Access {
  const domain = tls && (trustDomain ?? tls.ownDomain);
  if (access !== undefined && domain === undefined)
    throw new SettingsError('access: in plaintext nobody has a name; set tls-cert, tls-key and tls-ca');
  if (access === undefined && domain === '')
    throw new SettingsError(
      'tls-cert: it has no SPIFFE ID, so nobody would be allowed anything; set trust-domain, or name callers in a file by access',
    );
  return new Access(access, domain, log);
}
