/** The product on the lab's hub: a node and an agent as processes of their own, and what the node says of them. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OperatorService } from '../../../proto/gen/dpd/v1/operator_pb.js';
import type { Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';
import { VerdictService, type WatchVerdictsResponse } from '../../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiClient } from '../../../services/api/grpc/client.ts';
import { plaintext } from '../../../services/api/grpc/credentials.ts';
import { type Totals, total } from '../../counters.ts';
import { NodeProcess } from '../../node-process.ts';
import { npmScript } from '../../npm-script.ts';
import { childrenCpuSeconds, ownCpuSeconds } from './cpu.ts';

const HEADEND = 'hub';
const POLICY = { mode: 'ON_IDLE', intervalMs: 10_000, retryIntervalMs: 2_000, retries: 5 };
const ROOT = new URL('../../../', import.meta.url);
const AGENT = npmScript('agent');
const PAGE = 1_000;
/** From pino's level of warnings on. */
const WARNING = /"level":[456]0/;
/** Deaths are counted as verdicts. */
const DEATH = /"msg":"peer is dead"/;

/** CPU time so far, s. */
export type ProductCpu = {
  readonly agent: number;
  readonly agentChildren: number;
  readonly node: number;
  readonly redis: number;
};

export type SeenVerdict = { readonly verdict: Verdict; readonly receivedUnixMs: number };

export class Product {
  readonly #client: ApiClient;
  readonly #node: NodeProcess;
  readonly #directory: string;
  readonly #inside: readonly string[];
  readonly verdicts: SeenVerdict[] = [];
  #agent: ChildProcess | undefined;
  #stopped = false;

  private constructor(node: NodeProcess, directory: string, inside: readonly string[]) {
    this.#node = node;
    this.#directory = directory;
    this.#inside = inside;
    this.#client = new ApiClient(plaintext(node.address));
  }

  /** Starts a node in a namespace. @param directory for its data and the agent's log */
  static async start(namespace: string, directory: string): Promise<Product> {
    const inside = ['ip', 'netns', 'exec', namespace];
    const env = {
      DPD_DATA_DIR: join(directory, 'data'),
      DPD_NODE_ID: 'bench',
      DPD_PROBE_ADDRESS: '0.0.0.0',
      DPD_PROBE_PORT_BASE: '14500',
    };
    const node = await NodeProcess.start(`unix:${join(directory, 'node.sock')}`, env, inside);
    return new Product(node, directory, inside);
  }

  /** Starts the agent beside the charon with that vici socket. */
  startAgent(viciSocket: string): void {
    const peers = join(this.#directory, 'peers.json');
    writeFileSync(peers, JSON.stringify({ policy: POLICY }));
    const flags = { address: this.#node.address, headend: HEADEND, 'vici-socket': viciSocket, peers };
    const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
    const [program, ...become] = this.#inside;
    this.#agent = spawn(program!, [...become, process.execPath, ...AGENT.args, ...args], {
      cwd: fileURLToPath(ROOT),
      env: { ...process.env, ...AGENT.env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#agent.stderr!.pipe(createWriteStream(this.#agentLog));
  }

  /** Collects all verdicts, from the first on. The node must know the hub. */
  watchVerdicts(): void {
    const watch = this.#client.watch(VerdictService.method.watchVerdicts, { headend: HEADEND });
    watch.on('data', ({ verdicts }: WatchVerdictsResponse) => {
      for (const verdict of verdicts) this.verdicts.push({ verdict, receivedUnixMs: Date.now() });
    });
    watch.on('error', (error) => {
      if (!this.#stopped) throw error;
    });
  }

  get agentPid(): number {
    return this.#agent!.pid!;
  }

  get agentEnded(): boolean {
    return this.#agent!.exitCode !== null || this.#agent!.signalCode !== null;
  }

  cpu(): ProductCpu {
    const node = this.#node.process.pid!;
    return {
      agent: ownCpuSeconds(this.agentPid),
      agentChildren: childrenCpuSeconds(this.agentPid),
      node: ownCpuSeconds(node),
      redis: childrenCpuSeconds(node),
    };
  }

  /** Counters of the hub's shards, added up. */
  async counters(): Promise<Totals> {
    return total((await this.#client.unary(OperatorService.method.getCounters, { headend: HEADEND })).shards);
  }

  /** SAs that the node holds, that it knows as parked, and that have answered a probe. */
  async progress(): Promise<{ held: number; parked: number; answered: number }> {
    const progress = { held: 0, parked: 0, answered: 0 };
    for (let pageToken = ''; ; ) {
      const request = { headend: HEADEND, pageSize: PAGE, pageToken };
      const { peers, nextPageToken } = await this.#client.unary(OperatorService.method.listPeers, request);
      for (const { sa, probesAnswered } of peers) {
        progress.held++;
        if (sa!.parked) progress.parked++;
        if (probesAnswered > 0) progress.answered++;
      }
      if (nextPageToken === '') return progress;
      pageToken = nextPageToken;
    }
  }

  /** Warnings and errors that agent and node have logged. */
  complaints(): string[] {
    const agent = this.#agent ? readFileSync(this.#agentLog, 'utf8').split('\n') : [];
    const node = this.#node.log.split('\n');
    return [...agent.filter((line) => WARNING.test(line)), ...node.filter((line) => line !== '' && !DEATH.test(line))];
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#client.close();
    if (this.#agent && !this.agentEnded) {
      const exited = once(this.#agent, 'exit');
      // SAs need not be given back: their daemons end, too.
      this.#agent.kill('SIGKILL');
      await exited;
    }
    await this.#node.stop();
  }

  get #agentLog(): string {
    return join(this.#directory, 'agent.log');
  }
}
