/**
 * Watches the way out: the rules stand, and canaries leave as the hub's own. Says for each shard whether it is ready,
 * and vouches for each canary seen. Rules that vanish are put back unless they are somebody else's to manage.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../../base/log.ts';
import type { PathState, ProbeSource } from '../headend.ts';
import {
  addSources,
  installRules,
  type RulesStatus,
  readCanaries,
  readRules,
  removeRules,
  removeSources,
  type Source,
  type Steering,
} from './rules.ts';

const CANARY_POLL_MS = 200;
const RULES_POLL_MS = 1_000;
/** Sources told within so long are added together, ms. */
const GATHER_MS = 20;
/** Without a canary for so long the map of sources is filled again, ms. */
const CANARY_LOST_MS = 3_000;
/** Canaries remembered as vouched for; the kernel forgets its own sooner. */
const REMEMBERED = 4_096;

/** A spoke's address and port. */
export type Target = { readonly address: string; readonly port: number };

export type PathEvents = {
  path(shard: number, path: PathState): void;
  vouch(canary: number): void;
};

export class PathGuard {
  readonly #steering: Steering;
  readonly #install: boolean;
  readonly #events: PathEvents;
  readonly #log: Logger;
  readonly #probes: (ProbeSource | undefined)[];
  /** Where each shard's canaries go: a spoke of the shard, so that they take the way of its probes. */
  readonly #targets: (Target | undefined)[];
  /** The hub's address towards each spoke, by the spoke's address and port; and what of that the kernel has. */
  readonly #sources = new Map<string, Source>();
  readonly #standing = new Map<string, Source>();
  readonly #told: string[] = [];
  readonly #seen = new Set<number>();
  readonly #timers: NodeJS.Timeout[] = [];
  #status: RulesStatus = { outbound: false, inbound: false };
  #installed = '';
  /** Sources that gather into one call. */
  #adding: Promise<void> | undefined;
  #suspended = true;
  #busy = false;
  #canaryAt = performance.now();

  /** @param install whether the rules are ours to write */
  constructor(steering: Steering, shards: number, install: boolean, events: PathEvents, log: Logger) {
    this.#steering = steering;
    this.#install = install;
    this.#events = events;
    this.#log = log;
    this.#probes = new Array<ProbeSource | undefined>(shards).fill(undefined);
    this.#targets = new Array<Target | undefined>(shards).fill(undefined);
  }

  /** The shard probes from there, perhaps as another node's: probes from elsewhere are not steered any more. */
  setProbe(shard: number, probe: ProbeSource): void {
    this.#probes[shard] = probe;
    this.#told[shard] = '';
    if (!this.#suspended) void this.#verify();
  }

  /** The shard's canaries go to this address; undefined: it has no SA to probe. */
  setTarget(shard: number, target: Target | undefined): void {
    this.#targets[shard] = target;
    this.#tell(shard);
  }

  target(shard: number): Target | undefined {
    return this.#targets[shard];
  }

  /**
   * Probes to this spoke leave from this address of the hub. On return the kernel knows, if the rules stand; many
   * at once are one call of nft.
   */
  addSource(source: Source): Promise<void> {
    const key = `${source.address}:${source.port}`;
    this.#sources.set(key, source);
    if (this.#standing.get(key)?.local === source.local) return Promise.resolve();
    this.#adding ??= sleep(GATHER_MS).then(() => {
      this.#adding = undefined;
      return this.#syncSources();
    });
    return this.#adding;
  }

  /** These spokes are all there are: what else stands is taken out at the next look. */
  keepSources(keys: ReadonlySet<string>): void {
    for (const key of this.#sources.keys()) if (!keys.has(key)) this.#sources.delete(key);
  }

  /** Puts the rules up and lets probing begin. */
  async start(): Promise<void> {
    this.#suspended = false;
    await this.#verify();
    this.#timers.push(
      setInterval(() => void this.#verify(), RULES_POLL_MS),
      setInterval(() => void this.#vouch(), CANARY_POLL_MS),
    );
  }

  /** Ends probing; the rules stand. */
  suspend(): void {
    this.#suspended = true;
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#targets.forEach((_, shard) => this.#tell(shard));
  }

  /** Takes the rules down, last of all. */
  async remove(): Promise<void> {
    if (this.#install) await removeRules();
  }

  async #syncSources(): Promise<void> {
    if (!this.#status.outbound) return;
    const added = [...this.#sources].filter(([key, source]) => this.#standing.get(key)?.local !== source.local);
    const gone = [...this.#standing].filter(([key, source]) => this.#sources.get(key)?.local !== source.local);
    for (const [key, source] of added) this.#standing.set(key, source);
    for (const [key] of gone) if (!this.#sources.has(key)) this.#standing.delete(key);
    await removeSources(gone.map(([, source]) => source));
    await addSources(added.map(([, source]) => source));
  }

  async #verify(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      this.#status = await readRules();
      const probes = this.#probes.every((probe) => probe !== undefined) ? this.#probes : undefined;
      const stands = this.#status.outbound && this.#status.inbound;
      const wanted = JSON.stringify(probes);
      if (this.#install && probes && (!stands || this.#installed !== wanted)) {
        if (this.#installed !== '' && !stands) this.#log.warn(this.#status, 'steering rules were gone; put back');
        await installRules(this.#steering, probes, [...this.#sources.values()]);
        this.#standing.clear();
        for (const [key, source] of this.#sources) this.#standing.set(key, source);
        this.#installed = wanted;
        this.#status = await readRules();
      }
      // Rules that were gone may be back with an empty map; so may those whose canaries do not arrive.
      if (!stands || performance.now() - this.#canaryAt > CANARY_LOST_MS) this.#standing.clear();
      await this.#syncSources();
    } catch (error) {
      this.#status = { outbound: false, inbound: false };
      this.#log.error({ reason: (error as Error).message }, 'steering rules cannot be read or written');
    } finally {
      this.#busy = false;
    }
    this.#targets.forEach((_, shard) => this.#tell(shard));
  }

  #tell(shard: number): void {
    const target = this.#targets[shard];
    const ready = !this.#suspended && target !== undefined && this.#status.outbound && this.#status.inbound;
    const path: PathState = {
      canaryAddress: ready ? target.address : '',
      canaryPort: ready ? target.port : 0,
      guarded: true,
      ready,
      open: false,
    };
    const text = JSON.stringify(path);
    if (this.#told[shard] === text) return;
    this.#told[shard] = text;
    this.#log.info({ shard, ready, ...this.#status }, 'path');
    this.#events.path(shard, path);
  }

  async #vouch(): Promise<void> {
    if (!this.#status.outbound) return;
    try {
      for (const canary of await readCanaries()) {
        if (this.#seen.has(canary)) continue;
        this.#seen.add(canary);
        this.#canaryAt = performance.now();
        this.#events.vouch(canary);
      }
      if (this.#seen.size > REMEMBERED)
        for (const canary of this.#seen.values().take(REMEMBERED / 2)) this.#seen.delete(canary);
    } catch (error) {
      this.#log.warn({ reason: (error as Error).message }, 'canaries cannot be read');
    }
  }
}
