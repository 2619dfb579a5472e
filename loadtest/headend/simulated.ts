/** A data plane without a VPN daemon, for the demo and load tests: SAs, traffic and failovers are simulated. */

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Action, Outcome, type Sa, type Verdict } from '../../proto/gen/dpd/v1/types_pb.js';
import type { AgentSide, Applied, Headend, ProbeSource } from '../../services/agent/headend/headend.ts';
import { spiHex } from '../../services/api/spi.ts';
import { bindUdp } from '../../workers/net/udp.ts';
import { readCanary } from '../../workers/path/canary.ts';

/** Where the simulated SAs come from. */
export type SimulatedSpokes = {
  /** SAs that stand at the start. */
  readonly sas: Iterable<Sa>;
  /** The headend's own address, to which nodes send canaries; loopback if nodes are on this host. */
  readonly address?: string;
  /** Sets up the peer's SA on another endpoint, or undefined if it cannot be reached. */
  failOver(sa: Sa, endpoint: number): Sa | undefined;
};

/** Events for an observer of the simulation. */
export type SimulatedEvents = {
  verdict?(verdict: Verdict, receivedUnix: number): void;
  failedOver?(verdict: Verdict): void;
};

export type TrafficShape = {
  /** Share of the SAs that carry traffic, 0 to 1. */
  readonly share: number;
  /** Evidence of each SA is reported this often, ms: every second for some of them, as counters of many are read. */
  readonly everyMs: number;
};

/** How often evidence of some SAs is reported, ms. */
const REPORT_MS = 1_000;
/** Setting an SA up takes as long as on the strongSwan hub of the lab, ms. */
const FAILOVER_MS = 20;

export class SimulatedHeadend implements Headend {
  readonly #spokes: SimulatedSpokes;
  readonly #traffic: TrafficShape;
  readonly #events: SimulatedEvents;
  readonly #sas = new Map<string, Sa>();
  /** SAs torn down whose failover has not succeeded yet. */
  readonly #torn = new Map<string, Sa>();
  /** Where each shard probes from. */
  readonly #ports: number[] = [];
  #agent!: AgentSide;
  #canaries: Awaited<ReturnType<typeof bindUdp>> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(spokes: SimulatedSpokes, traffic: TrafficShape, events: SimulatedEvents = {}) {
    this.#spokes = spokes;
    this.#traffic = traffic;
    this.#events = events;
  }

  async start(agent: AgentSide): Promise<void> {
    this.#agent = agent;
    this.#canaries = await bindUdp(this.#spokes.address ?? '127.0.0.1', 0);
    // There are no steering rules here: what leaves is proper if it comes from the shard's own port.
    this.#canaries.on('message', (datagram, from) => {
      const canary = readCanary(datagram);
      const shard = this.#ports.indexOf(from.port);
      if (canary && shard >= 0) agent.vouch(shard, canary.number);
    });
    for (const sa of this.#spokes.sas) this.#add(sa);
    agent.complete();
    if (this.#traffic.share > 0) this.#timer = setInterval(() => this.#report(), REPORT_MS);
  }

  connected(shard: number, probe: ProbeSource): void {
    this.#ports[shard] = probe.port;
    if (!this.#canaries) return;
    const { address, port } = this.#canaries.address();
    this.#agent.path(shard, {
      canaryAddress: address,
      canaryPort: port,
      guarded: false,
      ready: true,
      returning: false,
    });
  }

  held(): void {}

  keysWanted(): void {}

  released(): void {}

  disconnected(): void {}

  /** SAs with traffic are silenced with their spoke: traffic of the dead is not reported. */
  silence(sa: Sa): void {
    this.#silent.add(spiHex(sa.id!));
  }
  readonly #silent = new Set<string>();

  async apply(verdict: Verdict): Promise<Applied> {
    this.#events.verdict?.(verdict, Date.now());
    const spi = spiHex(verdict.sa!);
    const sa = this.#sas.get(spi) ?? this.#torn.get(spi);
    if (!sa) return { outcome: Outcome.SA_GONE, detail: '' };
    if (verdict.action === Action.NOTIFY) return { outcome: Outcome.NOTIFIED, detail: '' };
    if (this.#sas.delete(spi)) this.#agent.remove(verdict.sa!);
    this.#torn.delete(spi);
    const restart = verdict.action === Action.RESTART;
    if (!restart && (verdict.action !== Action.FAILOVER || verdict.endpoints.length < 2))
      return { outcome: Outcome.CLEARED, detail: '' };
    await sleep(FAILOVER_MS);
    const next = this.#spokes.failOver(sa, verdict.nextEndpoint);
    if (!next) {
      this.#torn.set(spi, sa);
      return { outcome: Outcome.FAILOVER_FAILED, detail: `endpoint ${verdict.nextEndpoint} did not answer` };
    }
    this.#add(next);
    this.#events.failedOver?.(verdict);
    return { outcome: Outcome.FAILED_OVER, detail: `endpoint ${verdict.nextEndpoint}`, successor: next.id };
  }

  async probe(_sa: Sa): Promise<boolean> {
    return false;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const canaries = this.#canaries;
    this.#canaries = undefined;
    if (!canaries) return;
    canaries.close();
    await once(canaries, 'close');
  }

  #add(sa: Sa): void {
    this.#sas.set(spiHex(sa.id!), sa);
    this.#agent.upsert(sa);
  }

  #report(): void {
    const busy: string[] = [];
    const turns = Math.max(1, Math.round(this.#traffic.everyMs / REPORT_MS));
    const turn = this.#turn++ % turns;
    let n = 0;
    for (const spi of this.#sas.keys()) {
      const has = n % 100 < this.#traffic.share * 100;
      if (has && Math.floor(n / 100) % turns === turn && !this.#silent.has(spi)) busy.push(spi);
      n++;
    }
    this.#agent.evidence(busy, busy, 0);
  }
  #turn = 0;
}
