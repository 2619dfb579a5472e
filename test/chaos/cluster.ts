/** Nodes as separate processes on a Redis given by URL, agents of several headends in this process, and spokes. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { SimulatedHeadend } from '../../loadtest/headend/simulated.ts';
import { NodeProcess } from '../../loadtest/node-process.ts';
import { type FleetShape, saOf } from '../../loadtest/spokes/fleet.ts';
import { Responder } from '../../loadtest/spokes/responder.ts';
import { OperatorService, type ShardCounters } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode, PolicySchema, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { Agent } from '../../services/agent/agent.ts';
import { NodeChannels } from '../../services/agent/channels.ts';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { shardOf } from '../../services/api/spi.ts';
import { createLogger } from '../../services/base/log.ts';
import { shardKeys } from '../../services/store/keys.ts';
import { bindUdp } from '../../workers/net/udp.ts';
import { eventually } from '../eventually.ts';
import type { Server } from './redis-servers.ts';

export const POLICY = create(PolicySchema, {
  mode: Mode.ON_IDLE,
  intervalMs: 2_000,
  retryIntervalMs: 500,
  retries: 3,
  jitterPercent: 10,
  action: Action.CLEAR,
});
export const DETECTION_MS = POLICY.intervalMs + POLICY.retries * POLICY.retryIntervalMs;
const SHARDS = 4;

export type ChaosHeadend = {
  readonly name: string;
  readonly responder: Responder;
  readonly fleet: FleetShape;
  readonly verdicts: Verdict[];
  /** Where it awaits canaries. */
  readonly address: string;
  agent?: Agent;
};

/** Names of peers by number, sorted as {@link ChaosCluster.deadOf} sorts them. */
export function peerIds(spokes: readonly number[]): string[] {
  return spokes.map((spoke) => `spoke-${spoke}`).sort();
}

/** SAs of a headend that a Redis holds. */
export async function sasHeld(redis: Server, headend: string): Promise<number> {
  const shards = Array.from({ length: SHARDS }, (_, shard) => shardKeys({ headend, shard }).sas);
  const counts = await Promise.all(shards.map((key) => redis.command('HLEN', key)));
  return counts.reduce<number>((sum, count) => sum + Number(count), 0);
}

/** Where nodes and spokes are: by default all on loopback, nodes behind unix sockets. */
export type ChaosPlaces = {
  /** A node's address, settings, and the command before its own. */
  node(name: string): { address: string; env: Record<string, string>; prefix: readonly string[] };
  /** Where the spokes of a headend listen. */
  spokes(headend: number): readonly string[];
};

export class ChaosCluster {
  readonly #directory = mkdtempSync(join(tmpdir(), 'dpd-chaos-'));
  readonly #env: Record<string, string>;
  readonly #places: ChaosPlaces;
  readonly nodes = new Map<string, NodeProcess>();
  readonly headends: ChaosHeadend[] = [];
  readonly #sockets: Awaited<ReturnType<typeof bindUdp>>[] = [];

  constructor(redisUrl: string, env: Record<string, string> = {}, places?: ChaosPlaces) {
    this.#places = places ?? {
      node: (name) => ({ address: `unix:${join(this.#directory, `${name}.sock`)}`, env: {}, prefix: [] }),
      spokes: (headend) => [1, 2].map((n) => `127.9.${headend}.${n}`),
    };
    this.#env = {
      REDIS_URL: redisUrl,
      DPD_VAULT_KEY: randomBytes(32).toString('base64'),
      DPD_STORM_SHARE: '0',
      LOG_LEVEL: 'info',
      ...env,
    };
  }

  address(node: string): string {
    return this.#places.node(node).address;
  }

  async startNode(name: string, more: Record<string, string> = {}): Promise<void> {
    const { address, env, prefix } = this.#places.node(name);
    this.nodes.set(
      name,
      await NodeProcess.start(address, { ...this.#env, DPD_NODE_ID: name, ...env, ...more }, prefix),
    );
  }

  /** A headend with its agent, all of its spokes registered. */
  async startHeadend(name: string, spokes: number): Promise<ChaosHeadend> {
    const responder = new Responder(name, spokes);
    const addresses = this.#places.spokes(this.headends.length);
    const sockets = await Promise.all(addresses.map((at) => bindUdp(at, 0)));
    for (const socket of sockets)
      socket.on('message', (request, from) => {
        const response = responder.answer(request);
        if (response) socket.send(Buffer.from(response), from.port, from.address);
      });
    this.#sockets.push(...sockets);
    const fleet = { count: spokes, shards: SHARDS, seed: name, sockets: sockets.map((socket) => socket.address()) };
    const headend: ChaosHeadend = { name, responder, fleet, verdicts: [], address: addresses[0]! };
    this.headends.push(headend);
    await this.startAgent(headend);
    return headend;
  }

  /** Starts the headend's agent; one that runs is replaced. */
  async startAgent(headend: ChaosHeadend): Promise<void> {
    const { name, fleet, address, verdicts } = headend;
    const sas = Array.from({ length: fleet.count }, (_, spoke) => saOf(fleet, spoke, 0, POLICY));
    const plane = new SimulatedHeadend(
      { sas, address, failOver: () => undefined },
      { share: 0, everyMs: 1_000 },
      { verdict: (verdict) => verdicts.push(verdict) },
    );
    const agent = new Agent(
      { headend: name, shards: SHARDS, addresses: [...this.nodes.keys()].map((node) => this.address(node)) },
      plane,
      {
        channels: new NodeChannels(plaintext('', true)),
        log: createLogger('agent', process.env['CHAOS_LOG'] ?? 'silent'),
      },
    );
    headend.agent = agent;
    await plane.start(agent);
    await eventually(`${name} is registered`, 30_000, () => agent.settled);
  }

  /** Counters of a node's shards; of all nodes that answer, without one. */
  async counters(node?: string): Promise<ShardCounters[]> {
    const names = node ? [node] : [...this.nodes.keys()];
    const answers = await Promise.all(
      names.map(async (name) => {
        const client = new ApiClient(plaintext(this.address(name), true));
        try {
          return (await client.unary(OperatorService.method.getCounters, {}, 2_000)).shards;
        } catch {
          return [];
        } finally {
          client.close();
        }
      }),
    );
    return answers.flat();
  }

  /** Waits until every living spoke has been probed and has answered twice from now on. */
  async everyoneProbed(within: number): Promise<void> {
    const before = this.headends.map(({ responder }) => responder.answered);
    await eventually('everyone is probed', within, () =>
      this.headends.every(({ responder, fleet }, n) => responder.answered - before[n]! >= 2 * fleet.count),
    );
  }

  /** The shard that a spoke is in. */
  shardOf({ fleet }: ChaosHeadend, spoke: number): number {
    return shardOf(saOf(fleet, spoke, 0, POLICY).id!.responderSpi, SHARDS);
  }

  /** Peers with a verdict, sorted. */
  deadOf(headend: ChaosHeadend): string[] {
    return [...new Set(headend.verdicts.map(({ peerId }) => peerId))].sort();
  }

  async stop(): Promise<void> {
    for (const { agent } of this.headends) await agent?.stop();
    for (const node of this.nodes.values()) {
      node.process.kill('SIGCONT');
      await node.stop('SIGKILL');
    }
    for (const socket of this.#sockets) socket.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
