/** A headend of the simulation: its SAs, the rules before its probes, and what verdicts do to it. */

import { clone } from '@bufbuild/protobuf';
import { Action, Outcome, type Sa, SaSchema, type Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';
import type { AgentSide, Applied, DataPlane, HeldSa, ProbeSource } from '../../../services/agent/headend/headend.ts';
import { shardOf, spiHex } from '../../../services/api/spi.ts';
import type { Clock } from '../../../services/base/clock.ts';
import { readCanary } from '../../../workers/path/canary.ts';
import type { Random } from '../random.ts';
import type { Site, TrueSa } from '../spokes.ts';
import type { World } from '../world.ts';

const TRAFFIC_MS = 5_000;
/** How long vici needs to bring an endpoint up or find that it does not come, ms. */
const INITIATE_MS = { up: 50, down: 2_000 };

export class SimHeadend {
  readonly name: string;
  readonly shards: number;
  /** Probes leave through rules, and need a voucher each. */
  readonly closed: boolean;
  readonly index: number;
  /** The rules stand. */
  rulesUp = true;
  readonly sites: Site[] = [];
  readonly #world: World;
  readonly #random: Random;
  #plane: Plane | undefined;
  #revision = 1;

  constructor(world: World, random: Random, name: string, index: number, shards: number, closed: boolean) {
    this.#world = world;
    this.#random = random;
    this.name = name;
    this.index = index;
    this.shards = shards;
    this.closed = closed;
  }

  /** What an agent that starts now stands beside. */
  plane(clock: Clock): DataPlane {
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

  /** A site is seen from another port. */
  roamed(site: Site, endpoint: number, port: number): void {
    const truth = site.sa;
    if (!truth) return;
    // The agent holds the former message: what is told is never changed.
    truth.sa = clone(SaSchema, truth.sa);
    truth.sa.endpoints[endpoint]!.port = port;
    truth.sa.revision = this.#revision++;
    this.#plane?.upsert(truth);
  }

  forget(truth: TrueSa): void {
    this.#world.spokes.forget(truth);
    this.#plane?.agent?.remove(truth.sa.id!);
  }

  /** A datagram that leaves through the rules arrives behind them. */
  canary(datagram: Buffer): void {
    const canary = readCanary(datagram);
    if (canary !== undefined && this.rulesUp) this.#plane?.vouch(canary);
  }

  /** Sets the next endpoint up, if it answers. */
  async failOver(site: Site, endpoint: number, clock: Clock): Promise<TrueSa | undefined> {
    const comes = () => site.up[endpoint] === true && !this.#world.cutOff(site);
    await clock.sleep(comes() ? INITIATE_MS.up : INITIATE_MS.down);
    if (!comes()) return undefined;
    // The site may have come by itself meanwhile.
    return site.sa ?? this.establish(site, endpoint);
  }

  get world(): World {
    return this.#world;
  }
}

class Plane implements DataPlane {
  agent: AgentSide | undefined;
  readonly #headend: SimHeadend;
  readonly #clock: Clock;
  readonly #random: Random;
  /** What each shard held when it was connected last. */
  readonly #held = new Map<number, readonly HeldSa[]>();
  /** Attempts of verdicts that it was given. */
  readonly #applied = new Set<string>();
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
    truth.registered = true;
    this.agent!.upsert(truth.sa);
  }

  async start(agent: AgentSide): Promise<void> {
    this.agent = agent;
    this.#cancel = this.#clock.every(TRAFFIC_MS, () => this.#report());
  }

  connected(shard: number, _probe: ProbeSource, held: readonly HeldSa[]): void {
    this.#begin(shard, held);
    const { closed, index } = this.#headend;
    this.agent!.path(shard, {
      canaryAddress: closed ? `11.0.0.${index}` : '',
      canaryPort: closed ? 4500 : 0,
      guarded: closed,
      ready: true,
      open: !closed,
    });
  }

  held(): void {}

  lost(spis: readonly string[]): void {
    for (const site of this.#headend.sites) if (site.sa && spis.includes(site.sa.spi)) this.#rekey(site);
  }

  /** Once every shard's inventory is known: what was in the cluster's care before and is not any more is rekeyed. */
  #begin(shard: number, held: readonly HeldSa[]): void {
    if (this.#begun) return;
    this.#held.set(shard, held);
    if (this.#held.size < this.#headend.shards) return;
    this.#begun = true;
    const known = new Set([...this.#held.values()].flat().map(({ id }) => spiHex(id)));
    for (const site of this.#headend.sites) {
      if (!site.sa) continue;
      if (site.sa.registered && !known.has(site.sa.spi)) this.#rekey(site);
      else this.upsert(site.sa);
    }
    this.agent!.complete();
  }

  /** Rekeying needs the spoke: one that does not answer loses its SA, as charon's retransmissions end. */
  #rekey(site: Site): void {
    const { sa } = site;
    if (sa && sa.deadMs === undefined) this.#headend.establish(site, sa.endpoint);
    else if (sa) this.#headend.forget(sa);
  }

  released(): void {}

  disconnected(): void {}

  vouch(canary: number): void {
    // The agent polls the kernel.
    this.#clock.after(this.#random.between(0, 200), () => {
      for (let shard = 0; shard < this.#headend.shards; shard++) this.agent?.vouch(shard, canary);
    });
  }

  async apply(verdict: Verdict): Promise<Applied> {
    const { world } = this.#headend;
    world.checks.applied(verdict, this.#applied);
    const spi = spiHex(verdict.sa!);
    const site = this.#headend.sites.find(({ name }) => name === verdict.peerId)!;
    const truth = site.sa?.spi === spi ? site.sa : undefined;
    if (!truth && site.sa) return { outcome: Outcome.SA_GONE, detail: '' };
    if (truth) {
      world.checks.tornDown(truth, verdict);
      this.#headend.forget(truth);
    }
    if (verdict.action !== Action.FAILOVER || verdict.endpoints.length < 2)
      return { outcome: Outcome.CLEARED, detail: '' };
    const next = await this.#headend.failOver(site, verdict.nextEndpoint, this.#clock);
    if (!next) return { outcome: Outcome.FAILOVER_FAILED, detail: 'did not come up' };
    return { outcome: Outcome.FAILED_OVER, detail: '', successor: next.sa.id! };
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
