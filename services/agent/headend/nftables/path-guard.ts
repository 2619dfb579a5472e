/**
 * Keeps the steering rules as they must be, and tells each shard by which ways its probes leave. The shard checks that itself by
 * its canaries. Rules that vanish are put back at once, unless another program manages them.
 */

import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_WAYS } from '../../../../workers/liveness/interlock.ts';
import type { Logger } from '../../../base/log.ts';
import type { PathState, ProbeSource } from '../headend.ts';
import { Exemptions } from '../xfrm/exemptions.ts';
import { parseEnd } from './end.ts';
import { installRules, Nft, readCare, readRules, removeRules, watchRules } from './nft.ts';
import { leavesAsHubs, Routes } from './routes.ts';
import { type Beside, careChange, nodeAddressOf, type RulesStatus, type Steering } from './rules.ts';

/** Changes requested within this time are made together, ms. */
const GATHER_MS = 20;
/** How often the rules are checked without a reported change, ms. */
const LOOK_MS = 60_000;
/** SPIs in one command at most. */
const ELEMENTS = 1_000;
/** Failed commands are tried again after this time, ms. */
const AGAIN_MS = 1_000;
const NOTHING: RulesStatus = { inbound: false, ways: [] };

/** A spoke's address and port. */
export type Target = { readonly address: string; readonly port: number };

export class PathGuard {
  readonly #steering: Steering;
  readonly #install: boolean;
  readonly #tellPath: (shard: number, path: PathState) => void;
  readonly #log: Logger;
  readonly #nft = new Nft();
  /** For nodes on other hosts; on the hub their sockets exempt themselves. */
  readonly #exemptions: Exemptions | undefined;
  readonly #probes: (ProbeSource | undefined)[];
  /**
   * Where each shard's canaries go, by the hub's end that they leave from: to a spoke, so that they take the way of probes.
   */
  readonly #targets: ReadonlyMap<string, Target>[];
  /** The hub's ends by the number that markers name (end.ts). It never changes: a shard may not know yet. */
  readonly #ways: string[] = [];
  /** Low words of the responder SPIs of SAs in care, with the number of SAs of each; and those that the kernel has. */
  readonly #care = new Map<number, number>();
  readonly #standing = new Set<number>();
  /** SAs that a former agent took into care. */
  readonly #adopted = new Set<number>();
  readonly #told: string[] = [];
  /** For nodes on other hosts; on the hub probes have the hub's address before they are routed. */
  readonly #routes: Routes | undefined;
  #status: RulesStatus = NOTHING;
  #installed = '';
  #phase: 'waiting' | 'running' | 'ended' = 'waiting';
  /** A check that is under way or scheduled, and whether another must follow. */
  #looking: Promise<void> | undefined;
  #again = false;
  /** The installed rules must be read. */
  #read = true;
  #timer: NodeJS.Timeout | undefined;
  #unwatch = () => {};

  /** @param install whether the rules are ours to write */
  constructor(
    steering: Steering,
    shards: number,
    install: boolean,
    tellPath: (shard: number, path: PathState) => void,
    log: Logger,
  ) {
    this.#steering = steering;
    this.#install = install;
    this.#tellPath = tellPath;
    this.#log = log;
    if (steering.kind === 'remote') {
      if (install) this.#exemptions = Exemptions.open();
      this.#routes = new Routes(
        (local, spoke) => this.#findRoute(steering, local, spoke),
        (local, spoke, asHubs) => this.#routeChanged(local, spoke, asHubs),
      );
    }
    this.#probes = new Array<ProbeSource | undefined>(shards).fill(undefined);
    this.#targets = new Array<ReadonlyMap<string, Target>>(shards).fill(new Map());
    // Canaries "from the spoke" carry their shard's number where answers have an SPI, and take the same rule.
    for (let shard = 0; shard < shards; shard++) this.#care.set(shard, 1);
  }

  /**
   * The shard probes from there, perhaps from another node now: packets from other sources are not steered any more.
   */
  setProbe(shard: number, probe: ProbeSource): void {
    this.#probes[shard] = probe;
    this.#told[shard] = '';
    void this.#routes?.refresh();
    if (this.#phase === 'running') void this.#look(true);
  }

  /**
   * Where canaries of a shard go, by the hub's end that they leave from. On a way without a target no peer is probed.
   */
  setTargets(shard: number, targets: ReadonlyMap<string, Target>): void {
    this.#targets[shard] = targets;
    this.#tell(shard);
  }

  /**
   * SAs with this end of the hub, by its name, will be probed. On return the rules contain it, if they are installed. False if there are
   * too many.
   */
  async addWay(local: string): Promise<boolean> {
    if (!this.#ways.includes(local)) {
      if (this.#ways.length === MAX_WAYS) return false;
      this.#ways.push(local);
    }
    if (this.#phase === 'running' && !this.#has(this.#ways.indexOf(local), local)) await this.#look(true);
    return true;
  }

  /**
   * Answers on an SA come to its shard from now on. Resolves with true when the kernel has it; false if it is not wanted any
   * more.
   * @param spi its responder's, low word
   */
  async addCare(spi: number): Promise<boolean> {
    if (!this.#adopted.delete(spi)) this.#care.set(spi, (this.#care.get(spi) ?? 0) + 1);
    while (!this.#standing.has(spi)) {
      if (this.#phase === 'ended' || !this.#care.has(spi)) return false;
      if (this.#phase === 'running') await this.#look(false);
      if (!this.#standing.has(spi)) await sleep(AGAIN_MS);
    }
    return true;
  }

  /** Answers on an SA are its daemon's again. */
  dropCare(spi: number): void {
    const others = (this.#care.get(spi) ?? 0) - 1;
    if (others > 0) this.#care.set(spi, others);
    else this.#care.delete(spi);
    if (this.#phase === 'running') void this.#look(false);
  }

  /**
   * Continues the work of a former agent: the numbers of its ways are kept, because its shards still use them. Returns whether rules are
   * installed, and the SPIs that they steer: such an SA may be parked.
   * @param care low words of the responder SPIs of SAs that are in care; {@link addCare} counts them once
   */
  async adopt(care: Iterable<number>): Promise<{ stands: boolean; steered: ReadonlySet<number> }> {
    for (const spi of care) {
      this.#care.set(spi, (this.#care.get(spi) ?? 0) + 1);
      this.#adopted.add(spi);
    }
    const { inbound, ways } = await readRules();
    if (this.#ways.length === 0) this.#ways.push(...Array.from(ways, (local) => local ?? ''));
    return { stands: inbound, steered: new Set(inbound ? await readCare() : []) };
  }

  /** Installs the rules and lets probing begin. */
  async start(): Promise<void> {
    this.#phase = 'running';
    await this.#look(true);
    this.#timer = setInterval(() => {
      void this.#look(true);
      void this.#routes?.refresh();
    }, LOOK_MS);
    this.#unwatch = watchRules(() => void this.#look(true));
  }

  /** Ends probing; the rules stay. */
  suspend(): void {
    this.#phase = 'ended';
    this.#unwatch();
    clearInterval(this.#timer);
    this.#tellAll();
  }

  /** Removes the rules, last of all. */
  async remove(): Promise<void> {
    if (this.#install) await removeRules();
    this.#exemptions?.set([]);
  }

  close(): void {
    this.#nft.close();
    this.#exemptions?.close();
  }

  /** Makes the rules as they must be; settles when they are, or cannot be. @param read the installed rules may have changed */
  #look(read: boolean): Promise<void> {
    this.#again = true;
    this.#read ||= read;
    this.#looking ??= (async () => {
      await sleep(GATHER_MS);
      while (this.#again && this.#phase === 'running') {
        this.#again = false;
        await this.#verify();
      }
      this.#looking = undefined;
    })();
    return this.#looking;
  }

  async #verify(): Promise<void> {
    try {
      if (this.#read) {
        this.#read = false;
        await this.#putUp();
      }
      if (this.#status.inbound) await this.syncCare();
    } catch (error) {
      this.#status = NOTHING;
      this.#log.error({ reason: (error as Error).message }, 'steering rules cannot be read or written');
      setTimeout(() => void this.#look(true), AGAIN_MS).unref();
    }
    this.#tellAll();
  }

  /** Installs the rules if they differ from those needed. */
  async #putUp(): Promise<void> {
    this.#status = await readRules();
    this.#standing.clear();
    const probes = this.#probes.filter((probe) => probe !== undefined);
    if (!this.#install || probes.length < this.#probes.length) return;
    this.#exempt(probes);
    const wanted = JSON.stringify([probes, this.#ways]);
    if (this.#status.inbound && wanted === this.#installed && this.#ways.every((local, n) => this.#has(n, local)))
      return;
    if (this.#installed !== '' && !this.#status.inbound) this.#log.warn('steering rules were gone; put back');
    const care = new Set(this.#care.keys());
    await installRules({ steering: this.#steering, probes, ways: this.#ways, care });
    for (const spi of care) this.#standing.add(spi);
    this.#installed = wanted;
    this.#status = await readRules();
  }

  /** Exempts the packets of shards on other hosts from IPsec. Throws SteeringError. */
  #exempt(probes: readonly ProbeSource[]): void {
    const steering = this.#steering;
    if (steering.kind !== 'remote') return;
    const places = probes.flatMap((probe) =>
      (['ip', 'ip6'] as const).map((ip) => ({ address: nodeAddressOf(probe, steering, ip), port: probe.port })),
    );
    this.#exemptions?.set(places.filter(({ address }) => address !== ''));
  }

  /** Has the kernel steer answers on the SAs in care, and no others. Rejects with SteeringError. */
  async syncCare(): Promise<void> {
    const gone = [...this.#standing].filter((spi) => !this.#care.has(spi));
    const added = [...this.#care.keys()].filter((spi) => !this.#standing.has(spi));
    for (let n = 0; n < gone.length; n += ELEMENTS) await this.#change('delete', gone.slice(n, n + ELEMENTS));
    for (let n = 0; n < added.length; n += ELEMENTS) await this.#change('add', added.slice(n, n + ELEMENTS));
  }

  async #change(verb: 'add' | 'delete', spis: readonly number[]): Promise<void> {
    await this.#nft.run(careChange(verb, this.#status.ways, spis));
    for (const spi of spis)
      if (verb === 'add') this.#standing.add(spi);
      else this.#standing.delete(spi);
  }

  #has(way: number, local: string): boolean {
    return this.#status.ways[way] === local;
  }

  /** All nodes are on one network, so any shard's address will do. */
  #findRoute(steering: Beside, local: string, spoke: string): Promise<boolean> {
    const probe = this.#probes.find((one) => one !== undefined) ?? { address: '', address6: '' };
    const node = nodeAddressOf(probe, steering, isIPv6(spoke) ? 'ip6' : 'ip');
    return leavesAsHubs(local, spoke, node, steering.nodeInterface);
  }

  #routeChanged(local: string, spoke: string, asHubs: boolean): void {
    if (!asHubs)
      this.#log.error(
        { local, spoke },
        'a node beside the hub cannot ask from this address: its probes would leave by another uplink',
      );
    this.#tellAll();
  }

  #tellAll(): void {
    this.#targets.forEach((_, shard) => this.#tell(shard));
  }

  #tell(shard: number): void {
    // A shard that is probing already goes on meanwhile.
    if (this.#phase === 'waiting') return;
    const stands = this.#phase === 'running' && this.#status.inbound;
    const targets = this.#targets[shard]!;
    const ways = this.#ways.flatMap((local, index) => {
      const target = targets.get(local);
      const { address, port } = parseEnd(local);
      if (!stands || !target || !this.#has(index, local)) return [];
      if (this.#routes && !this.#routes.leaveAsHubs(address, target.address)) return [];
      const to = { canaryAddress: target.address, canaryPort: target.port };
      return [{ localAddress: address, localPort: port, index, ...to }];
    });
    const path: PathState = { guarded: true, ready: ways.length > 0, returning: true, ways };
    const text = JSON.stringify(path);
    if (this.#told[shard] === text) return;
    this.#told[shard] = text;
    this.#log.info({ shard, ready: path.ready, ways: ways.map(({ index }) => this.#ways[index]) }, 'path');
    this.#tellPath(shard, path);
  }
}
