/** The product on a lab's hub, or its node on a host beside that: processes of their own, and a client that watches them. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OperatorService, type Peer, PeerState } from '../../../proto/gen/dpd/v1/operator_pb.js';
import type { Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';
import { VerdictService, type WatchVerdictsResponse } from '../../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiClient } from '../../../services/api/grpc/client.ts';
import { plaintext } from '../../../services/api/grpc/credentials.ts';
import { eventually } from '../../eventually.ts';
import type { Charon } from './daemons/charon.ts';
import type { Namespace } from './netns.ts';
import { SPOKE } from './network.ts';
import { CONNECTION, SPOKE_ID } from './tunnel.ts';

const MAIN = (program: string) => new URL(`../../../services/${program}/main.ts`, import.meta.url).pathname;
const HEADEND = 'lab-hub';
/** The processor is emulated: programs start slowly. */
const START_MS = 180_000;
const STOP_MS = 30_000;
const STATE_MS = 150_000;
const LOOK_MS = 500;
/** How often the agent looks at charon's counters. */
const POLL_MS = 500;
/** Times in ms: long enough for an emulated processor to be on time. */
export const POLICY = { mode: 'ON_IDLE', intervalMs: 4_000, retryIntervalMs: 1_500, retries: 4, jitterPercent: 0 };

/** What the product stands beside: a lab. */
type Surroundings = { readonly directory: string; readonly hub: Namespace; readonly hubCharon: Charon };

type Options = {
  /** Where the node runs, if not on the hub. */
  readonly nodeHost?: Namespace;
  readonly nodeFlags?: readonly string[];
  readonly agentFlags?: readonly string[];
};

export class Product {
  readonly #client: ApiClient;
  readonly #hubCharon: Charon;
  readonly #node: ChildProcess;
  readonly #startAgent: () => ChildProcess;
  #agent: ChildProcess | undefined;
  readonly verdicts: Verdict[] = [];
  /** What both programs have logged. */
  log = '';
  #watching = false;

  /** Starts the node. */
  constructor(lab: Surroundings, { nodeHost = lab.hub, nodeFlags = [], agentFlags = [] }: Options = {}) {
    const address = `unix:${join(lab.directory, 'api.sock')}`;
    const peers = join(lab.directory, 'peers.json');
    const endpoints = [SPOKE.outer[4], SPOKE.outer[6]].map((address) => ({
      address,
      connection: CONNECTION,
      child: CONNECTION,
    }));
    const policy = { ...POLICY, action: 'CLEAR' };
    writeFileSync(peers, JSON.stringify({ policy, peers: { [SPOKE_ID]: { endpoints } } }));
    this.#client = new ApiClient(plaintext(address));
    this.#hubCharon = lab.hubCharon;
    const own = ['--data-dir', join(lab.directory, 'data'), '--node-id', 'lab-node'];
    this.#node = this.#start(nodeHost, 'node', ['--address', address, ...own, ...nodeFlags]);
    const charon = ['--vici-socket', lab.hubCharon.viciSocket, '--peers', peers, '--poll', String(POLL_MS)];
    const agent = ['--address', address, '--headend', HEADEND, '--shards', '1', ...charon, ...agentFlags];
    this.#startAgent = () => this.#start(lab.hub, 'agent', agent);
  }

  /** Waits until the node serves, and starts the agent. */
  async serve(): Promise<void> {
    const serving = () =>
      this.#client.unary(OperatorService.method.getClusterState, {}, 5_000).then(
        () => true,
        () => false,
      );
    await eventually('the node serves', START_MS, serving, LOOK_MS);
    this.#agent = this.#startAgent();
  }

  /** Collects verdicts from now on; the headend must be known. */
  watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    const stream = this.#client.watch(VerdictService.method.watchVerdicts, { headend: HEADEND });
    stream.on('data', ({ verdicts }: WatchVerdictsResponse) => this.verdicts.push(...verdicts));
    stream.on('error', (error: Error) => {
      this.log += `verdicts: ${error.message}\n`;
    });
  }

  /** A spoke as the cluster has it, or undefined. */
  async peer(peerId = SPOKE_ID): Promise<Peer | undefined> {
    const wanted = { headend: HEADEND, peerId };
    const found = await this.#client.unary(OperatorService.method.getPeer, wanted, 5_000).catch(() => undefined);
    // Not the SA before, of which the cluster hears a little later that it is gone: a new one is judged only after an answer of its own.
    const atHub = new Set((await this.#hubCharon.sas()).map(({ id }) => id.spiR.readBigUInt64BE()));
    return found?.peers.find(({ sa, state }) => atHub.has(sa!.id!.responderSpi) && state !== PeerState.UNWATCHED);
  }

  /** Waits until a spoke is watched and so many of its probes are answered. */
  async answered(probes: number, peerId = SPOKE_ID): Promise<void> {
    const enough = async () => ((await this.peer(peerId))?.probesAnswered ?? 0) >= probes;
    await eventually(`${probes} probes of ${peerId} are answered`, START_MS, enough, LOOK_MS);
  }

  /** Waits until a spoke is in this state. */
  async is(peerId: string, state: PeerState): Promise<void> {
    const there = async () => (await this.peer(peerId))?.state === state;
    await eventually(`${peerId} is ${PeerState[state]}`, STATE_MS, there, LOOK_MS);
  }

  /** Ends both at once: the hub ends, too. */
  async stop(): Promise<void> {
    this.#client.close();
    for (const program of [this.#agent, this.#node]) {
      if (!program || program.exitCode !== null || program.signalCode !== null) continue;
      const exited = once(program, 'exit', { signal: AbortSignal.timeout(STOP_MS) });
      program.kill('SIGKILL');
      await exited;
    }
  }

  #start(host: Namespace, program: string, flags: readonly string[]): ChildProcess {
    const started = host.spawn([process.execPath, MAIN(program), ...flags]);
    started.stderr!.on('data', (text: Buffer) => {
      this.log += text;
    });
    return started;
  }
}
