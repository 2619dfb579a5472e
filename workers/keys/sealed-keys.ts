/**
 * Keys of SAs taken over stay sealed until their peers are first probed or there is time: opening them at once would take
 * a third of a takeover. They stay in their pages, without an object for each.
 */

import { roomFor, widen } from '../base/columns.ts';
import { keysOf, type SaPage } from '../sa/sa-page.ts';

/** A page of which keys are left. */
type Kept = { readonly number: number; readonly page: SaPage; left: number; next: number };

export class SealedKeys {
  readonly #pages = new Map<number, Kept>();
  #last: Kept | undefined;
  #numbered = 0;
  /** Where an SA's keys are: number of the page, 0 for none, and row there. */
  #page = new Uint32Array(0);
  #row = new Uint32Array(0);

  get empty(): boolean {
    return this.#pages.size === 0;
  }

  /** Keeps an SA's keys, in place of others that it had here. */
  add(handle: number, page: SaPage, row: number): void {
    if (handle >= this.#page.length) {
      const capacity = roomFor(handle + 1, this.#page.length);
      this.#page = widen(new Uint32Array(capacity), this.#page);
      this.#row = widen(new Uint32Array(capacity), this.#row);
    }
    if (this.#last?.page !== page || this.#last.left === 0) {
      this.#last = { number: ++this.#numbered, page, left: 0, next: 0 };
      this.#pages.set(this.#last.number, this.#last);
    }
    this.#last.left++;
    this.remove(handle);
    this.#page[handle] = this.#last.number;
    this.#row[handle] = row;
  }

  /** Takes an SA's keys out, as a view; undefined if there are none. */
  remove(handle: number): Uint8Array | undefined {
    const kept = this.#pages.get(this.#page[handle] ?? 0);
    if (!kept) return undefined;
    const keys = keysOf(kept.page, this.#row[handle]!);
    this.#page[handle] = 0;
    if (--kept.left === 0) this.#forget(kept);
    return keys;
  }

  /** The SA whose keys have waited longest; -1 if there is none. */
  oldest(): number {
    for (const kept of this.#pages.values())
      for (; kept.next < kept.page.handles.length; kept.next++) {
        const handle = kept.page.handles[kept.next]!;
        if (this.#page[handle] === kept.number && this.#row[handle] === kept.next) return handle;
      }
    return -1;
  }

  #forget(kept: Kept): void {
    this.#pages.delete(kept.number);
    if (!this.empty) return;
    this.#last = undefined;
    this.#page = new Uint32Array(0);
    this.#row = new Uint32Array(0);
  }
}
