/**
 * The SAs that the headend wants in the shard, and those that the node holds. Both are sets with a count and an
 * order-free hash. The difference must still be sent, so that nothing depends on a single message.
 */

import type { Inventory } from '../../proto/gen/dpd/v1/headend_pb.js';
import type { Sa, SaId } from '../../proto/gen/dpd/v1/types_pb.js';
import { NO_MID } from '../../workers/sa/ids.ts';
import { SetHash } from '../api/reconcile.ts';
import { type SpiPair, spiFromHex, spiHex, spiWords } from '../api/spi.ts';

/** SAs in one batch; the API's limit. */
const UPSERT_BATCH = 1_000;
const REMOVE_BATCH = 1_000;

/** A batch on its way. */
export type Batch =
  | { readonly kind: 'upsert'; readonly sas: readonly Sa[] }
  | { readonly kind: 'remove'; readonly ids: readonly Pick<SaId, 'initiatorSpi' | 'responderSpi'>[] };

/** An SA as the node holds it. `keyed`: the node has the keys, and probes directly. */
type Held = { readonly handle: number; readonly revision: number; readonly keyed: boolean };

/** The state of one SA between headend and node. */
type Entry = {
  /** As the headend wants it; undefined: not wanted any more. */
  sa: Sa | undefined;
  /** As the node holds it, as far as the node has reported. */
  held: Held | undefined;
  /**
   * settled: nothing to do. due: to be sent. surplus: to be removed. underWay: in a batch that is not answered yet. keyless:
   * registered without keys because the node had them, but the node has none: it must be registered again with keys.
   */
  state: 'settled' | 'due' | 'surplus' | 'underWay' | 'keyless';
};

export class Registration {
  readonly #entries = new Map<string, Entry>();
  readonly #wantedSet = new SetHash();
  readonly #spiByHandle = new Map<number, string>();
  /** SPI pairs of entries that are due, and surplus, in order. */
  readonly #due = new Set<string>();
  readonly #surplus = new Set<string>();
  /** SAs registered without keys, which the node must have. */
  readonly #keysAtNode = new Set<string>();
  #inventory: Map<string, Held> | undefined;
  /** The node's inventory is known. */
  #known = false;
  #complete = false;

  /**
   * Wants an SA, in this revision. Returns false if it has no keys and the node has none either: it is not sent.
   * @param keysAtNode it comes without keys, as the node holds them
   */
  upsert(sa: Sa, keysAtNode = false): boolean {
    const spi = spiHex(sa.id!);
    const entry = this.#entryOf(spi);
    this.#unwant(entry);
    entry.sa = sa;
    this.#wantedSet.add(spiWords(sa.id!), sa.revision);
    if (keysAtNode) this.#keysAtNode.add(spi);
    else this.#keysAtNode.delete(spi);
    this.#surplus.delete(spi);
    this.#setDue(spi, entry);
    return entry.state !== 'keyless';
  }

  /** An SA is not wanted any more. */
  remove(id: SpiPair): void {
    const spi = spiHex(id);
    const entry = this.#entries.get(spi);
    if (!entry?.sa) return;
    this.#unwant(entry);
    this.#keysAtNode.delete(spi);
    this.#due.delete(spi);
    this.#setSurplus(spi, entry);
  }

  get(spi: string): Sa | undefined {
    return this.#entries.get(spi)?.sa;
  }

  /** All SAs wanted. */
  *wanted(): Generator<Sa> {
    for (const { sa } of this.#entries.values()) if (sa) yield sa;
  }

  get count(): number {
    return this.#wantedSet.count;
  }

  get hash(): bigint {
    return this.#wantedSet.hash;
  }

  /** Handle of an SA that the node holds. */
  handleOf(spi: string): number | undefined {
    return this.#entries.get(spi)?.held?.handle;
  }

  /** SA behind a handle of the node's. */
  saOf(handle: number): Sa | undefined {
    const spi = this.#spiByHandle.get(handle);
    return spi === undefined ? undefined : this.get(spi);
  }

  /**
   * The node says what it holds, in batches. On the last one the difference becomes what is to be sent.
   * @returns SPI pairs of SAs that are not sent, because they were registered without keys
   */
  addInventory(batch: Inventory): string[] {
    this.#inventory ??= new Map();
    batch.handles.forEach((handle, n) => {
      const id = { initiatorSpi: batch.initiatorSpis[n]!, responderSpi: batch.responderSpis[n]! };
      const keyed = batch.nextMessageIds[n] !== NO_MID;
      this.#inventory!.set(spiHex(id), { handle, revision: batch.revisions[n]!, keyed });
    });
    if (!batch.complete) return [];
    this.#spiByHandle.clear();
    for (const entry of this.#entries.values()) entry.held = undefined;
    for (const [spi, held] of this.#inventory) this.#hold(spi, this.#entryOf(spi), held);
    this.#inventory = undefined;
    this.#known = true;
    const keyless: string[] = [];
    for (const [spi, entry] of this.#entries) {
      // Batches on their way to this same node will be answered.
      if (entry.state === 'underWay') continue;
      if (!entry.sa && this.#complete) this.#setSurplus(spi, entry);
      else if (entry.sa && entry.held?.revision !== entry.sa.revision) this.#setDue(spi, entry);
      else this.#settle(spi, entry);
      if (entry.state === 'keyless') keyless.push(spi);
    }
    return keyless;
  }

  /** All wanted SAs are registered: from now on other SAs of the node are surplus. */
  complete(): void {
    if (this.#complete) return;
    this.#complete = true;
    for (const [spi, entry] of this.#entries) if (!entry.sa && entry.held) this.#setSurplus(spi, entry);
  }

  get isComplete(): boolean {
    return this.#complete;
  }

  /** The next batch to send, or undefined when there is none. It counts as sent: {@link done}, {@link refused} or {@link reset}. */
  next(): Batch | undefined {
    if (this.#surplus.size > 0) {
      const spis = this.#start(this.#surplus, REMOVE_BATCH);
      return { kind: 'remove', ids: spis.map(spiFromHex) };
    }
    if (this.#due.size > 0) {
      const spis = this.#start(this.#due, UPSERT_BATCH);
      return { kind: 'upsert', sas: spis.map((spi) => this.get(spi)!) };
    }
    return undefined;
  }

  /** The node has done a batch. */
  done(batch: Batch, handles: readonly number[]): void {
    if (batch.kind === 'upsert')
      batch.sas.forEach((sa, n) => {
        const spi = spiHex(sa.id!);
        const entry = this.#entryOf(spi);
        const keyed = sa.keys !== undefined || entry.held?.keyed === true;
        this.#hold(spi, entry, { handle: handles[n]!, revision: sa.revision, keyed });
        if (entry.state === 'underWay') this.#settle(spi, entry);
      });
    else
      for (const id of batch.ids) {
        const spi = spiHex(id);
        const entry = this.#entryOf(spi);
        this.#spiByHandle.delete(entry.held?.handle ?? -1);
        entry.held = undefined;
        if (entry.state === 'underWay') this.#settle(spi, entry);
      }
  }

  /** The node has not done a batch: its SAs that are still wanted must be sent again. */
  refused(batch: Batch): void {
    const ids = batch.kind === 'upsert' ? batch.sas.map(({ id }) => id!) : batch.ids;
    for (const id of ids) {
      const spi = spiHex(id);
      const entry = this.#entries.get(spi);
      if (entry?.state !== 'underWay') continue;
      if (entry.sa) this.#setDue(spi, entry);
      else this.#setSurplus(spi, entry);
    }
  }

  /** The stream broke: the node's SAs are not known until its next inventory. */
  reset(): void {
    this.#spiByHandle.clear();
    this.#due.clear();
    this.#surplus.clear();
    this.#inventory = undefined;
    this.#known = false;
    for (const [spi, entry] of this.#entries) {
      entry.held = undefined;
      entry.state = 'settled';
      if (!entry.sa) this.#entries.delete(spi);
    }
  }

  #entryOf(spi: string): Entry {
    let entry = this.#entries.get(spi);
    if (!entry) {
      entry = { sa: undefined, held: undefined, state: 'settled' };
      this.#entries.set(spi, entry);
    }
    return entry;
  }

  #unwant(entry: Entry): void {
    if (entry.sa) this.#wantedSet.remove(spiWords(entry.sa.id!), entry.sa.revision);
    entry.sa = undefined;
  }

  #hold(spi: string, entry: Entry, held: Held): void {
    entry.held = held;
    this.#spiByHandle.set(held.handle, spi);
  }

  #setDue(spi: string, entry: Entry): void {
    if (this.#keysAtNode.has(spi) && this.#known && entry.held?.keyed !== true) {
      this.#due.delete(spi);
      entry.state = 'keyless';
      return;
    }
    entry.state = 'due';
    this.#due.add(spi);
  }

  #setSurplus(spi: string, entry: Entry): void {
    entry.state = 'surplus';
    this.#surplus.add(spi);
  }

  /** There is nothing to do for the entry; an empty entry is deleted. */
  #settle(spi: string, entry: Entry): void {
    entry.state = 'settled';
    this.#due.delete(spi);
    this.#surplus.delete(spi);
    if (!entry.sa && !entry.held) this.#entries.delete(spi);
  }

  /** Takes entries out of a queue, into a batch. */
  #start(queue: Set<string>, most: number): string[] {
    const spis = [...queue.values().take(most)];
    for (const spi of spis) {
      queue.delete(spi);
      this.#entryOf(spi).state = 'underWay';
    }
    return spis;
  }
}
