/** The demo's nodes: processes of their own on one Redis, one of which may be killed and its shards looked for elsewhere. */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorService, type ShardCounters } from '../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { EmbeddedRedis } from '../../services/store/redis/embedded-redis.ts';
import { NodeProcess } from '../node-process.ts';

const POLL_MS = 25;
/** Longest wait for a killed node's shards, ms. */
const TAKEOVER_MS = 30_000;

type Member = { readonly process: NodeProcess; readonly client: ApiClient };

export class DemoCluster {
  readonly #redis: EmbeddedRedis | undefined;
  #members: Member[];
  /** What killed nodes had used, s. */
  #formerCpuS = 0;

  private constructor(redis: EmbeddedRedis | undefined, members: Member[]) {
    this.#redis = redis;
    this.#members = members;
  }

  /** Starts `count` nodes; one alone has a Redis of its own, several share one; each may hold all peers. */
  static async start(directory: string, count: number, maxPeers: number): Promise<DemoCluster> {
    const redis = count > 1 ? await EmbeddedRedis.start(join(directory, 'redis')) : undefined;
    const vaultKey = randomBytes(32).toString('base64');
    const members = await Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const address = `unix:${join(directory, `node-${n}.sock`)}`;
        const process = await NodeProcess.start(address, {
          DPD_DATA_DIR: join(directory, 'data'),
          DPD_NODE_ID: `demo-${n}`,
          DPD_MAX_PEERS: String(maxPeers),
          ...(redis && { REDIS_URL: redis.url, DPD_VAULT_KEY: vaultKey }),
        });
        return { process, client: new ApiClient(plaintext(address)) };
      }),
    );
    return new DemoCluster(redis, members);
  }

  get addresses(): string[] {
    return this.#members.map(({ process }) => process.address);
  }

  /** Counters of every shard, wherever it is. */
  async counters(): Promise<ShardCounters[]> {
    const answers = await Promise.all(
      this.#members.map(({ client }) => client.unary(OperatorService.method.getCounters, {})),
    );
    return answers.flatMap(({ shards }) => shards);
  }

  /** Kills the first node. Returns the ms until each of its shards was probing elsewhere. */
  async killOne(): Promise<number> {
    const [victim, ...others] = this.#members;
    const { shards } = await victim!.client.unary(OperatorService.method.getCounters, {});
    const waiting = new Set(shards.filter(({ peers }) => peers > 0).map(({ shard }) => shard));
    if (waiting.size === 0) throw new Error('the node to kill has no shard');
    this.#formerCpuS += victim!.process.cpuSeconds();
    const killed = performance.now();
    await victim!.process.stop('SIGKILL');
    victim!.client.close();
    this.#members = others;
    while (waiting.size > 0) {
      if (performance.now() - killed > TAKEOVER_MS) throw new Error(`shards ${[...waiting]} not taken over`);
      await sleep(POLL_MS);
      for (const { shard, probesSent } of await this.counters()) if (probesSent > 0n) waiting.delete(shard);
    }
    return performance.now() - killed;
  }

  /** User and system CPU time of all nodes, s. */
  cpuSeconds(): number {
    return this.#members.reduce((sum, { process }) => sum + process.cpuSeconds(), this.#formerCpuS);
  }

  /** Resident memory of the nodes that live, bytes. */
  rssBytes(): number {
    return this.#members.reduce((sum, { process }) => sum + process.rssBytes(), 0);
  }

  /** Last lines the nodes logged. */
  get log(): string {
    return this.#members.map(({ process }) => process.log).join('\n');
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#members.map(async ({ process, client }) => {
        client.close();
        await process.stop();
      }),
    );
    await this.#redis?.stop();
  }
}
