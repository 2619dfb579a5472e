/**
 * Which node each of a headend's shards should be with: evenly over the nodes that live, with as few moves as possible.
 * It gets events; the caller decides when to move.
 */

import { rank } from '../base/rendezvous.ts';

/** A node that could not be reached is not tried again for so long if there are others, ms. */
const SUSPECT_MS = 3_000;

/** A node as another node describes it. */
export type KnownNode = { readonly id: string; readonly address: string; readonly draining: boolean };

export class Placement {
  readonly #headend: string;
  readonly #seeds: readonly string[];
  readonly #now: () => number;
  /** Address of the node that each shard is with, or was assigned to. */
  readonly #assigned: (string | undefined)[];
  readonly #suspectUntil = new Map<string, number>();
  #nodes: readonly KnownNode[] = [];

  /** @param seeds addresses to begin with, at least one @param now monotonic, ms */
  constructor(headend: string, shards: number, seeds: readonly string[], now: () => number) {
    this.#headend = headend;
    this.#seeds = seeds;
    this.#now = now;
    this.#assigned = new Array<string | undefined>(shards).fill(undefined);
  }

  /** The live nodes, from one of them. True if something changed. */
  learn(nodes: readonly KnownNode[]): boolean {
    const shape = (all: readonly KnownNode[]) => all.map(({ address, draining }) => `${address} ${draining}`).join();
    const news = nodes.length > 0 && shape(nodes) !== shape(this.#nodes);
    if (news) this.#nodes = nodes;
    return news;
  }

  /** The node to connect this shard to now. */
  choose(shard: number): string {
    const present = this.#assigned[shard];
    const usable = this.#usable();
    if (present !== undefined && usable.includes(present)) return present;
    const quotas = this.#quotas();
    const room = (address: string) => (quotas.get(address) ?? 0) - this.#count(address, shard);
    const best = usable.reduce((a, b) => (room(b) > room(a) ? b : a));
    this.#assigned[shard] = best;
    return best;
  }

  /** The shard's node could not be reached, or broke off. */
  failed(shard: number, address: string): void {
    this.#suspectUntil.set(address, this.#now() + SUSPECT_MS);
    if (this.#assigned[shard] === address) this.#assigned[shard] = undefined;
  }

  /** The shard is connected there. */
  connected(address: string): void {
    this.#suspectUntil.delete(address);
  }

  /** A shard on a node that drains, or, if `even`, on one that has too many; its new node is noted already. */
  next(even: boolean): number | undefined {
    const quotas = this.#quotas();
    if (quotas.size === 0) return undefined;
    const free = this.#usable().some((address) => this.#count(address) < (quotas.get(address) ?? 0));
    const shard = this.#assigned.findIndex((address) => {
      if (address === undefined) return false;
      const quota = quotas.get(address);
      return quota === undefined ? this.#isDraining(address) : even && free && this.#count(address) > quota;
    });
    if (shard < 0) return undefined;
    this.#assigned[shard] = undefined;
    return shard;
  }

  /** Addresses that may be used at this moment, in this headend's order of preference. */
  #usable(): readonly string[] {
    const now = this.#now();
    const live = this.#live();
    const trusted = live.filter((address) => (this.#suspectUntil.get(address) ?? 0) <= now);
    if (trusted.length > 0) return trusted;
    // All nodes have failed: then the one that was tried longest ago, or an address that the operator named.
    const all = [...new Set([...live, ...this.#seeds])];
    return all.sort((a, b) => (this.#suspectUntil.get(a) ?? 0) - (this.#suspectUntil.get(b) ?? 0)).slice(0, 1);
  }

  #live(): string[] {
    const live = this.#nodes.filter(({ draining }) => !draining).map(({ address }) => address);
    return rank(this.#headend, live.length > 0 ? live : this.#seeds, (address) => address);
  }

  /** How many shards each live node should have. */
  #quotas(): Map<string, number> {
    const live = this.#live();
    const least = Math.floor(this.#assigned.length / live.length);
    const more = this.#assigned.length % live.length;
    return new Map(live.map((address, n) => [address, least + (n < more ? 1 : 0)]));
  }

  #count(address: string, except = -1): number {
    return this.#assigned.reduce((sum, at, shard) => sum + (at === address && shard !== except ? 1 : 0), 0);
  }

  #isDraining(address: string): boolean {
    return this.#nodes.some((node) => node.address === address && node.draining);
  }
}
