/** A headend of the simulation: its SAs, the rules before its probes, and what verdicts do to it. */

import { clone } from '@bufbuild/protobuf';
import { Action, Outcome, type Sa, SaSchema, type Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';
import type { AgentSide, Applied, Headend, HeldSa, ProbeSource } from '../../../services/agent/headend/headend.ts';
import { shardOf, spiHex } from '../../../services/api/spi.ts';
import type { Clock } from '../../../services/base/clock.ts';
import type { Checks } from '../checks.ts';
import type { Random } from '../random.ts';
import { HUB, type Site, type Spokes, type TrueSa } from '../spokes.ts';
import type { VirtualTime } from '../virtual-time.ts';

/** What a headend needs of the world around it. */
export type HeadendWorld = {
  readonly spokes: Spokes;
  readonly time: VirtualTime;
  readonly checks: Checks;
  /** No packets reach this site or come from it. */
  cutOff(site: Site): boolean;
};

const TRAFFIC_MS = 5_000;
/** Where canaries go. */
export const CANARY_PORT = 4_500;
/** The address names the headend. */
export function canaryAddress(headend: number): string {
  return `11.0.0.${headend}`;
}
/** How long vici needs to bring an endpoint up or find that it does not come, ms. */
const INITIATE_MS = { up: 50, down: 2_000 };

export class SimHeadend {
  readonly name: string;
  readonly shards: number;
  /** Its rules steer probes and answers, name the owner of each shard, and bring canaries home to that one. */
  readonly closed: boolean;
  readonly index: number;
  /** The rules are installed, out and in. */
  rulesUp = true;
  /** What comes to the hub does not arrive at the shard. */
  inwardDown = false;
  /** UDP port of each shard's owner, as the rules have it. */
  readonly owners: (number | undefined)[] = [];
  readonly sites: Site[] = [];
  readonly #world: HeadendWorld;
  readonly #random: Random;
  #plane: Plane | undefined;
  #revision = 1;

  constructor(world: HeadendWorld, random: Random, name: string, index: number, shards: number, closed: boolean) {
    this.#world = world;
    this.#random = random;
    this.name = name;
    this.index = index;
    this.shards = shards;
    this.closed = closed;
  }

  /** The headend for an agent that starts now. */
  plane(clock: Clock): Headend {
    this.#plane = new Plane(this, clock, this.#random);
    return this.#plane;
  }

  /** The agent is gone. */
  detach(): void {
    this.#plane = undefined;
  }

  /** A site has a new SA, by its own doing or ours. */
  establish(site: Site, endpoint: number): TrueSa {
    const former = site.sa;
    if (former) this.forget(former);
    const truth = this.#world.spokes.establish(site, endpoint, this.#world.time.now, this.#revision++);
    this.#plane?.upsert(truth);
    return truth;
  }

  /** A site is seen from the port where it is now. */
  roamed(site: Site, endpoint: number): void {
    const truth = site.sa;
    if (!truth) return;
    // The agent still has the former message, so a message must never be changed.
    truth.sa = clone(SaSchema, truth.sa);
    truth.sa.endpoints[endpoint]!.port = site.ports[endpoint]!;
    truth.sa.revision = this.#revision++;
    this.#plane?.upsert(truth);
  }

  forget(truth: TrueSa): void {
    this.#world.spokes.forget(truth);
    this.#plane?.agent?.remove(truth.sa.id!);
  }

  /** Whether the rules let this task's probes out. */
  steers({ shard, port }: { readonly shard: number; readonly port: number }): boolean {
    return this.rulesUp && this.owners[shard] === port;
  }

  /** A canary of a headend without rules has arrived: its agent vouches for the owner that it is connected to. */
  vouch(shard: number, port: number, canary: number): void {
    this.#plane?.vouch(shard, port, canary);
  }

  /** Sets the next endpoint up, if it answers. */
  async failOver(site: Site, endpoint: number, clock: Clock): Promise<TrueSa | undefined> {
    const comes = () => site.up[endpoint] === true && !this.#world.cutOff(site);
    await clock.sleep(comes() ? INITIATE_MS.up : INITIATE_MS.down);
    if (!comes()) return undefined;
    // The site may have come by itself meanwhile.
    return site.sa ?? this.establish(site, endpoint);
  }

  get world(): HeadendWorld {
    return this.#world;
  }
}

class Plane implements Headend {
  agent: AgentSide | undefined;
  readonly #headend: SimHeadend;
  readonly #clock: Clock;
  readonly #random: Random;
  /** What each shard held when it was connected last. */
  readonly #held = new Map<number, readonly HeldSa[]>();
  /** Attempts of verdicts that it was given. */
  readonly #applied = new Set<string>();
  /** Where each connected shard probes from. */
  readonly #ports: (number | undefined)[] = [];
  #begun = false;
  #cancel: () => void = () => {};

  constructor(headend: SimHeadend, clock: Clock, random: Random) {
    this.#headend = headend;
    this.#clock = clock;
    this.#random = random;
  }

  /** Changes before the first inventory are told with it. */
  upsert(truth: TrueSa): void {
    if (!this.#begun) return;
    this.agent!.upsert(truth.sa);
  }

  async start(agent: AgentSide): Promise<void> {
    this.agent = agent;
    this.#cancel = this.#clock.every(TRAFFIC_MS, () => this.#report());
  }

  connected(shard: number, probe: ProbeSource, held: readonly HeldSa[]): void {
    this.#begin(shard, held);
    const { closed, index, owners } = this.#headend;
    this.#ports[shard] = probe.port;
    if (closed) owners[shard] = probe.port;
    this.agent!.path(shard, {
      guarded: closed,
      ready: true,
      returning: closed,
      ways: [
        {
          localAddress: closed ? HUB : '',
          localPort: 0,
          index: 0,
          canaryAddress: canaryAddress(index),
          canaryPort: CANARY_PORT,
        },
      ],
    });
  }

  held(): void {}

  keysWanted(): void {}

  /** Everything is reported when every shard is connected. */
  #begin(shard: number, held: readonly HeldSa[]): void {
    if (this.#begun) return;
    this.#held.set(shard, held);
    if (this.#held.size < this.#headend.shards) return;
    this.#begun = true;
    for (const site of this.#headend.sites) if (site.sa) this.upsert(site.sa);
    this.agent!.complete();
  }

  released(): void {}

  disconnected(shard: number): void {
    this.#ports[shard] = undefined;
  }

  vouch(shard: number, port: number, canary: number): void {
    // Only for the node that has the shard's stream.
    if (this.#ports[shard] === port) this.agent?.vouch(shard, canary);
  }

  async apply(verdict: Verdict): Promise<Applied> {
    const { world } = this.#headend;
    world.checks.applied(verdict, this.#applied);
    const spi = spiHex(verdict.sa!);
    const site = this.#headend.sites.find(({ name }) => name === verdict.peerId)!;
    const truth = site.sa?.spi === spi ? site.sa : undefined;
    if (!truth && site.sa) return { outcome: Outcome.SA_GONE, detail: '' };
    if (truth && this.#lastLook(truth)) return { outcome: Outcome.PEER_ALIVE, detail: '' };
    if (verdict.action === Action.NOTIFY) return { outcome: Outcome.NOTIFIED, detail: '' };
    if (truth) {
      world.checks.tornDown(truth, verdict);
      this.#headend.forget(truth);
    }
    const restart = verdict.action === Action.RESTART;
    if (!restart && (verdict.action !== Action.FAILOVER || verdict.endpoints.length < 2))
      return { outcome: Outcome.CLEARED, detail: '' };
    const next = await this.#headend.failOver(site, verdict.nextEndpoint, this.#clock);
    if (!next) return { outcome: Outcome.FAILOVER_FAILED, detail: 'did not come up' };
    return { outcome: Outcome.FAILED_OVER, detail: '', successor: next.sa.id! };
  }

  /** Whether the SA's own counters show traffic of a moment ago. */
  #lastLook({ spi, site, deadMs, revivedMs }: TrueSa): boolean {
    const ageMs = this.#random.between(0, TRAFFIC_MS);
    if (!site.busy || deadMs !== undefined || this.#headend.world.time.now - ageMs < revivedMs) return false;
    this.agent!.evidence([spi], [], ageMs);
    return true;
  }

  async probe(sa: Sa): Promise<boolean> {
    const site = this.#headend.sites.find(({ name }) => name === sa.peerId)!;
    await this.#clock.sleep(this.#random.between(5, 50));
    const truth = site.sa;
    return truth?.spi === spiHex(sa.id!) && truth.deadMs === undefined;
  }

  async stop(): Promise<void> {
    this.#cancel();
  }

  #report(): void {
    const busy = this.#headend.sites.flatMap(({ busy: traffic, sa }) =>
      traffic && sa && sa.deadMs === undefined ? [sa.spi] : [],
    );
    const sent = this.#headend.sites.flatMap(({ busy: traffic, sa }) => (traffic && sa ? [sa.spi] : []));
    if (sent.length > 0) this.agent!.evidence(busy, sent, 0);
  }
}

/** Shard of an SA. */
export function shardOfSa(truth: TrueSa, shards: number): number {
  return shardOf(truth.sa.id!.responderSpi, shards);
}
