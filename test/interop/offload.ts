/** The product beside the lab's hub: a node and an agent as separate processes, and a client that watches them. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OperatorService, type Peer, type ShardCounters } from '../../proto/gen/dpd/v1/operator_pb.js';
import type { Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import { VerdictService, type WatchVerdictsResponse } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import { eventually as poll } from '../eventually.ts';
import type { Lab, NodeHost } from './lab.ts';

export const NODE_MAIN = new URL('../../services/node/main.ts', import.meta.url).pathname;
export const AGENT_MAIN = new URL('../../services/agent/main.ts', import.meta.url).pathname;
export const HEADEND = 'lab-hub';
export const SHARDS = 2;

/** Times in ms, as short as the API allows. */
export const POLICY = { intervalMs: 1_000, retryIntervalMs: 500, retries: 3, jitterPercent: 0 };
export const DETECTION_MS = POLICY.intervalMs + POLICY.retries * POLICY.retryIntervalMs;

/** An event that has not come by then will not come, ms: long enough for a busy machine. */
const PATIENCE_MS = 60_000;

/** Waits as the others do, but asks charon and the kernel less often. */
export function eventually(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  return poll(what, PATIENCE_MS, check, 100);
}

export type SeenVerdict = { readonly verdict: Verdict; readonly receivedUnix: number };

export class Offload {
  readonly #lab: Lab;
  readonly #where: 'hub' | 'node';
  readonly #agentFlags: string[];
  readonly #address: string;
  readonly client: ApiClient;
  readonly verdicts: SeenVerdict[] = [];
  node: ChildProcess | undefined;
  agent: ChildProcess | undefined;
  log = '';

  /** @param where the node runs on the hub itself, or on a host beside it */
  constructor(lab: Lab, where: 'hub' | 'node' = 'hub', agentFlags: string[] = []) {
    this.#lab = lab;
    this.#where = where;
    this.#agentFlags = agentFlags;
    this.#address = `unix:${join(lab.directory, 'api.sock')}`;
    this.client = new ApiClient(plaintext(this.#address));
    writeFileSync(
      join(lab.directory, 'peers.json'),
      JSON.stringify({
        policy: POLICY,
        peers: {
          spoke1: {
            endpoints: [
              { address: '192.0.2.10', connection: 'site1', child: 'net' },
              { address: '198.51.100.10', connection: 'site1-b', child: 'net' },
            ],
          },
        },
      }),
    );
  }

  async startNode(): Promise<void> {
    this.node = this.spawn(this.#where, NODE_MAIN, [
      '--address',
      this.#address,
      '--data-dir',
      join(this.#lab.directory, 'data'),
      '--node-id',
      'lab-node',
      // A lab's few spokes die together on purpose.
      '--storm-share',
      '0',
    ]);
    await eventually('node serves', () =>
      this.client.unary(OperatorService.method.getClusterState, {}, 1_000).then(
        () => true,
        () => false,
      ),
    );
  }

  startAgent(...flags: string[]): void {
    this.agent = this.spawn('hub', AGENT_MAIN, [
      '--address',
      this.#address,
      '--headend',
      HEADEND,
      '--shards',
      String(SHARDS),
      '--vici-socket',
      this.#lab.viciSocket('hub'),
      '--peers',
      join(this.#lab.directory, 'peers.json'),
      '--poll',
      '500',
      '--linger',
      '2000',
      ...this.#agentFlags,
      ...flags,
    ]);
  }

  /** Collects verdicts from now on. */
  watch(): void {
    const stream = this.client.watch(VerdictService.method.watchVerdicts, { headend: HEADEND });
    stream.on('data', ({ verdicts }: WatchVerdictsResponse) => {
      for (const verdict of verdicts) this.verdicts.push({ verdict, receivedUnix: Date.now() });
    });
    stream.on('error', () => {});
  }

  /** Counters of both shards, added up; vouched if both are. */
  async counters(): Promise<
    Record<
      | 'probesSent'
      | 'probesAnswered'
      | 'probesSuppressed'
      | 'probesBlocked'
      | 'verdicts'
      | 'repliesForged'
      | 'blocked'
      | 'peers'
      | 'alive'
      | 'requestsTranslated',
      number
    > & { vouched: boolean }
  > {
    const { shards } = await this.client.unary(OperatorService.method.getCounters, { headend: HEADEND });
    const sum = (name: keyof ShardCounters) => shards.reduce((total, shard) => total + Number(shard[name]), 0);
    return {
      probesSent: sum('probesSent'),
      probesAnswered: sum('probesAnswered'),
      probesSuppressed: sum('probesSuppressed'),
      probesBlocked: sum('probesBlocked'),
      verdicts: sum('verdicts'),
      repliesForged: sum('repliesForged'),
      blocked: sum('blocked'),
      peers: sum('peers'),
      alive: sum('alive'),
      requestsTranslated: sum('requestsTranslated'),
      vouched: shards.length > 0 && shards.every((shard) => shard.pathVouched || shard.peers === 0),
    };
  }

  async peer(peerId: string): Promise<Peer[]> {
    return (await this.client.unary(OperatorService.method.getPeer, { headend: HEADEND, peerId })).peers;
  }

  async peers(): Promise<Peer[]> {
    return (await this.client.unary(OperatorService.method.listPeers, { headend: HEADEND, pageSize: 1_000 })).peers;
  }

  /** Ends a process and waits for it. */
  async end(which: 'node' | 'agent', signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this[which];
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  async stop(): Promise<void> {
    await this.end('agent', 'SIGKILL');
    await this.end('node', 'SIGTERM');
    this.client.close();
  }

  /** Runs one of our programs on a host. */
  spawn(host: 'hub' | NodeHost, main: string, flags: string[]): ChildProcess {
    // execve all the way: a signal to this process is a signal to the program.
    const [program, ...args] = this.#lab.inside(host, process.execPath, main, ...flags);
    const child = spawn(program!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr!.on('data', (text: Buffer) => {
      this.log += text;
    });
    return child;
  }
}
