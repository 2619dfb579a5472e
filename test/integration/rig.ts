/** A real node with its own Redis, simulated spokes that speak real IKEv2, and an agent between them. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { SimulatedHeadend } from '../../loadtest/headend/simulated.ts';
import { NodeProcess } from '../../loadtest/node-process.ts';
import { type FleetShape, LIVES, saOf } from '../../loadtest/spokes/fleet.ts';
import { Responder } from '../../loadtest/spokes/responder.ts';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode, PolicySchema, type Sa, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { Agent } from '../../services/agent/agent.ts';
import { NodeChannels } from '../../services/agent/channels.ts';
import type { Headend } from '../../services/agent/headend/headend.ts';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { createLogger } from '../../services/base/log.ts';
import { bindUdp } from '../../workers/net/udp.ts';
import { eventually } from '../eventually.ts';

export const HEADEND = 'rig-hub';
export const SHARDS = 2;
export const SILENT = createLogger('test', 'silent');

export const POLICY = create(PolicySchema, {
  mode: Mode.ON_IDLE,
  intervalMs: 1_000,
  retryIntervalMs: 300,
  retries: 3,
  jitterPercent: 10,
  action: Action.CLEAR,
});
export const DETECTION_MS = POLICY.intervalMs + POLICY.retries * POLICY.retryIntervalMs;

/** An agent of the rig's headend, its nodes reached in plaintext. */
export function localAgent(addresses: readonly string[], plane: Headend): Agent {
  const channels = new NodeChannels(plaintext(''));
  return new Agent({ headend: HEADEND, shards: SHARDS, addresses }, plane, { channels, log: SILENT });
}

export type RigOptions = {
  readonly spokes: number;
  /** As in a fleet. */
  readonly suite?: number;
  readonly policy?: MessageInitShape<typeof PolicySchema>;
  /** The agent connects through this address instead of the node's. */
  readonly agentAddress?: (nodeAddress: string) => Promise<string>;
  readonly nodeEnv?: Record<string, string>;
  /** Whether an endpoint comes up when the data plane tries it. */
  readonly comesUp?: (sa: Sa, endpoint: number) => boolean;
  /** The node serves here instead of on a unix socket. */
  readonly address?: string;
};

export class Rig {
  readonly directory = mkdtempSync(join(tmpdir(), 'dpd-rig-'));
  readonly address: string;
  readonly client: ApiClient;
  readonly responder: Responder;
  readonly verdicts: Verdict[] = [];
  readonly #options: RigOptions;
  #agentAddress = '';
  #sockets: Awaited<ReturnType<typeof bindUdp>>[] = [];
  fleet!: FleetShape;
  node!: NodeProcess;
  agent!: Agent;
  /** What all nodes of this rig logged. */
  logs = '';

  private constructor(options: RigOptions) {
    this.#options = options;
    this.address = options.address ?? `unix:${join(this.directory, 'api.sock')}`;
    this.client = new ApiClient(plaintext(this.address));
    this.responder = new Responder('rig', options.spokes, options.suite);
  }

  /** Starts node and spokes; the agent with {@link startAgent}. */
  static async start(options: RigOptions): Promise<Rig> {
    const rig = new Rig(options);
    rig.#sockets = await Promise.all(Array.from({ length: 4 }, (_, n) => bindUdp(`127.3.0.${n + 1}`, 0)));
    for (const socket of rig.#sockets)
      socket.on('message', (request, from) => {
        const response = rig.responder.answer(request);
        if (response) socket.send(Buffer.from(response), from.port, from.address);
      });
    rig.fleet = {
      count: options.spokes,
      shards: SHARDS,
      seed: 'rig',
      suite: options.suite,
      sockets: rig.#sockets.map((socket) => socket.address()),
    };
    rig.#agentAddress = (await options.agentAddress?.(rig.address)) ?? rig.address;
    await rig.startNode();
    return rig;
  }

  async startNode(): Promise<void> {
    this.node = await NodeProcess.start(this.address, {
      DPD_DATA_DIR: join(this.directory, 'data'),
      DPD_NODE_ID: 'rig-node',
      DPD_ADVERTISE: this.#agentAddress,
      // Tests kill many at once; the storm guard has its own test.
      DPD_STORM_SHARE: '0',
      LOG_LEVEL: 'debug',
      ...this.#options.nodeEnv,
    });
  }

  /** The node's private Redis. */
  get redisUrl(): string {
    const pid = readFileSync(join(this.directory, 'data', 'redis.pid'), 'utf8').trim();
    const [, path] = /unixsocket:([^\s\0]+)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))!;
    return `unix:${path}`;
  }

  sa(spoke: number, life = 0): Sa {
    return saOf(this.fleet, spoke, life, create(PolicySchema, { ...POLICY, ...this.#options.policy }));
  }

  /** All spokes have answered: from now on their silence means something. */
  async proven(): Promise<void> {
    const { lastAnswer } = this.responder;
    const answered = (_: unknown, spoke: number) => lastAnswer[spoke * LIVES]! > 0;
    await eventually('all spokes have answered', 60_000, () =>
      Array.from({ length: this.#options.spokes }).every(answered),
    );
    // The last answer arrives.
    await sleep(100);
  }

  /** Starts an agent for all spokes and waits until they are registered, and, if they are to be `proven`, have answered. */
  async startAgent({ settleMs = 60_000, proven = true } = {}): Promise<void> {
    const { spokes } = this.#options;
    const headend = new SimulatedHeadend(
      {
        sas: Array.from({ length: spokes }, (_, spoke) => this.sa(spoke)),
        failOver: (sa, endpoint) => {
          if (this.#options.comesUp?.(sa, endpoint) === false) return undefined;
          return this.#setUp(sa, endpoint);
        },
      },
      { share: 0, everyMs: 1_000 },
      { verdict: (verdict) => this.verdicts.push(verdict) },
    );
    this.agent = localAgent([this.#agentAddress], headend);
    await headend.start(this.agent);
    await eventually('all SAs registered', settleMs, () => this.agent.settled);
    if (proven) await this.proven();
  }

  /** The peer's SA on an endpoint, its message ids at their beginning. */
  #setUp({ peerId }: Sa, endpoint: number): Sa {
    const spoke = Number(peerId.slice('spoke-'.length));
    this.responder.bring(spoke, endpoint);
    return this.sa(spoke, endpoint);
  }

  /** Sum of a counter over the headend's shards. */
  async count(
    name: 'peers' | 'probesAnswered' | 'probesSent' | 'verdicts' | 'repliesForged' | 'alive',
  ): Promise<number> {
    const { shards } = await this.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
    return shards.reduce((sum, shard) => sum + Number(shard[name]), 0);
  }

  async stop(): Promise<void> {
    await this.agent?.stop();
    this.client.close();
    await this.node.stop();
    this.logs += this.node.log;
    for (const socket of this.#sockets) socket.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
