/**
 * Outcomes of peers by site: one count each time a peer was probed, or was due but heard in time. The storm guard
 * judges by them; counts only grow.
 */

import { widen } from '../base/columns.ts';

export class Outcomes {
  #well = new Uint32Array(16);
  #silent = new Uint32Array(16);
  /** Something was counted since the last {@link read}. */
  changed = false;

  /** Heard in time, or answered. */
  well(site: number): void {
    this.#room(site);
    this.#well[site]!++;
    this.changed = true;
  }

  /** A first probe went unanswered for a whole retry interval. */
  silent(site: number): void {
    this.#room(site);
    this.#silent[site]!++;
    this.changed = true;
  }

  /** Both counts by site, as they are now. */
  read(): { well: Uint32Array; silent: Uint32Array } {
    this.changed = false;
    return { well: this.#well.slice(), silent: this.#silent.slice() };
  }

  #room(site: number): void {
    if (site < this.#well.length) return;
    const capacity = Math.max(site + 1, this.#well.length * 2);
    this.#well = widen(new Uint32Array(capacity), this.#well);
    this.#silent = widen(new Uint32Array(capacity), this.#silent);
  }
}
