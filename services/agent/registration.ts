/**
 * What the headend wants the shard to hold, against what the node says it holds. Both are sets with a count and an
 * order-free hash; the difference is what is still to be sent, so that nothing depends on any one message arriving.
 */

import type { Inventory } from '../../proto/gen/dpd/v1/headend_pb.js';
import type { Sa, SaId } from '../../proto/gen/dpd/v1/types_pb.js';
import { NO_MID } from '../../workers/shard/protocol.ts';
import { SetHash } from '../api/reconcile.ts';
import { type SpiPair, spiFromHex, spiHex, spiWords } from '../api/spi.ts';

/** SAs in one batch; the API's limit. */
const UPSERT_BATCH = 1_000;
const REMOVE_BATCH = 1_000;

/** A batch on its way. */
export type Batch =
  | { readonly kind: 'upsert'; readonly sas: readonly Sa[] }
  | { readonly kind: 'remove'; readonly ids: readonly Pick<SaId, 'initiatorSpi' | 'responderSpi'>[] };

/** `keyed`: the node has the keys, and probes directly. */
type Held = { handle: number; revision: number; keyed: boolean };

export class Registration {
  /** Wanted SAs by SPI pair. */
  readonly #wanted = new Map<string, Sa>();
  readonly #wantedSet = new SetHash();
  /** What the node holds, as far as it has said. */
  readonly #held = new Map<string, Held>();
  readonly #spiByHandle = new Map<number, string>();
  /** SAs with keys that a node has ever held: it has used message ids of theirs that nobody else knows. */
  readonly #used = new Set<string>();
  /** SAs with keys that a node was sent and never answered for, until the next node has said what it holds. */
  readonly #unanswered = new Set<string>();
  /** What Redis was in by the last welcome. */
  #history = '';
  readonly #toUpsert = new Set<string>();
  readonly #toRemove = new Set<string>();
  /** Of these, wanted ones that the connected node does not hold: reported as lost. */
  readonly #lost = new Set<string>();
  #inventory: Map<string, Held> | undefined;
  /** What the node holds is known. */
  #known = false;
  #complete = false;

  /** Wants an SA, in this revision. False if the cluster has lost it, which is said once: it is not registered again. */
  upsert(sa: Sa): boolean {
    const spi = spiHex(sa.id!);
    this.#forget(spi);
    this.#wanted.set(spi, sa);
    if (this.#held.get(spi)?.keyed) this.#used.add(spi);
    this.#wantedSet.add(spiWords(sa.id!), sa.revision);
    this.#toRemove.delete(spi);
    if (this.#known && this.#used.has(spi) && !this.#held.has(spi)) {
      const reported = this.#lost.has(spi);
      this.#lost.add(spi);
      return reported;
    }
    this.#toUpsert.add(spi);
    return true;
  }

  /** Wants an SA no more. */
  remove(id: SpiPair): void {
    const spi = spiHex(id);
    if (!this.#forget(spi)) return;
    this.#used.delete(spi);
    this.#unanswered.delete(spi);
    this.#lost.delete(spi);
    this.#toUpsert.delete(spi);
    this.#toRemove.add(spi);
  }

  get(spi: string): Sa | undefined {
    return this.#wanted.get(spi);
  }

  /** All SAs wanted. */
  wanted(): IterableIterator<Sa> {
    return this.#wanted.values();
  }

  get count(): number {
    return this.#wanted.size;
  }

  get hash(): bigint {
    return this.#wantedSet.hash;
  }

  /** Handle of an SA that the node holds. */
  handleOf(spi: string): number | undefined {
    return this.#held.get(spi)?.handle;
  }

  /** SA behind a handle of the node's. */
  saOf(handle: number): Sa | undefined {
    const spi = this.#spiByHandle.get(handle);
    return spi === undefined ? undefined : this.#wanted.get(spi);
  }

  /**
   * A node welcomes the headend; its inventory follows.
   * @param history of its Redis. In the same one it knows of all that a former node held; in another, or if that is not
   *   known, it may have lost what was held, and asked, and never answered for
   */
  welcomed(history: string): void {
    if (history === '' || history !== this.#history) {
      for (const spi of this.#unanswered) this.#used.add(spi);
      this.#unanswered.clear();
    }
    this.#history = history;
  }

  /**
   * The node says what it holds, in batches. On the last one the difference becomes what is to be sent.
   * @returns SAs that the cluster held and has lost, and with them their message ids: not to be registered again
   */
  takeInventory(batch: Inventory): string[] {
    this.#inventory ??= new Map();
    batch.handles.forEach((handle, n) => {
      const id = { initiatorSpi: batch.initiatorSpis[n]!, responderSpi: batch.responderSpis[n]! };
      const keyed = batch.nextMessageIds[n] !== NO_MID;
      this.#inventory!.set(spiHex(id), { handle, revision: batch.revisions[n]!, keyed });
    });
    if (!batch.complete) return [];
    this.#held.clear();
    this.#spiByHandle.clear();
    for (const [spi, held] of this.#inventory) {
      this.#hold(spi, held);
      // What is not wanted yet may be wanted when another node has lost it.
      if (held.keyed && (!this.#complete || this.#wanted.has(spi))) this.#used.add(spi);
    }
    this.#inventory = undefined;
    // What is on its way to this very node is not answered for by an inventory that it sends in between.
    if (!this.#known) this.#unanswered.clear();
    this.#known = true;
    this.#lost.clear();
    for (const [spi, sa] of this.#wanted) {
      const held = this.#held.get(spi);
      if (!held && this.#used.has(spi)) {
        this.#toUpsert.delete(spi);
        this.#lost.add(spi);
      } else if (held?.revision !== sa.revision) this.#toUpsert.add(spi);
    }
    if (this.#complete) this.#removeSurplus();
    return [...this.#lost];
  }

  /** All that is wanted has been told: from now on what the node holds beyond it is surplus. */
  complete(): void {
    if (this.#complete) return;
    this.#complete = true;
    for (const spi of this.#used) if (!this.#wanted.has(spi)) this.#used.delete(spi);
    this.#removeSurplus();
  }

  get isComplete(): boolean {
    return this.#complete;
  }

  #removeSurplus(): void {
    for (const spi of this.#held.keys()) if (!this.#wanted.has(spi)) this.#toRemove.add(spi);
  }

  /** The next batch to send, or undefined when there is none. It counts as sent: {@link done}, {@link refused} or {@link reset}. */
  next(): Batch | undefined {
    if (this.#toRemove.size > 0) {
      const spis = take(this.#toRemove, REMOVE_BATCH);
      return { kind: 'remove', ids: spis.map(spiFromHex) };
    }
    if (this.#toUpsert.size > 0) {
      const sas = take(this.#toUpsert, UPSERT_BATCH).flatMap((spi) => this.#wanted.get(spi) ?? []);
      for (const { id, keys } of sas) if (keys) this.#unanswered.add(spiHex(id!));
      return { kind: 'upsert', sas };
    }
    return undefined;
  }

  /** The node has done a batch. */
  done(batch: Batch, handles: readonly number[]): void {
    if (batch.kind === 'upsert')
      batch.sas.forEach((sa, n) => {
        const spi = spiHex(sa.id!);
        const keyed = sa.keys !== undefined || this.#held.get(spi)?.keyed === true;
        this.#hold(spi, { handle: handles[n]!, revision: sa.revision, keyed });
        this.#unanswered.delete(spi);
        if (keyed && this.#wanted.has(spi)) this.#used.add(spi);
      });
    else
      for (const id of batch.ids) {
        const spi = spiHex(id);
        this.#spiByHandle.delete(this.#held.get(spi)?.handle ?? -1);
        this.#held.delete(spi);
      }
  }

  /** The node has not done a batch: what of it is still wanted is to be sent again. */
  refused(batch: Batch): void {
    if (batch.kind === 'upsert')
      for (const { id } of batch.sas) {
        const spi = spiHex(id!);
        if (this.#wanted.has(spi)) this.#toUpsert.add(spi);
      }
    else
      for (const id of batch.ids) {
        const spi = spiHex(id);
        if (!this.#wanted.has(spi)) this.#toRemove.add(spi);
      }
  }

  /** The stream broke: nothing is known of what the node holds until its next inventory. */
  reset(): void {
    this.#held.clear();
    this.#spiByHandle.clear();
    this.#toUpsert.clear();
    this.#toRemove.clear();
    this.#lost.clear();
    this.#inventory = undefined;
    this.#known = false;
  }

  #hold(spi: string, held: Held): void {
    this.#held.set(spi, held);
    this.#spiByHandle.set(held.handle, spi);
  }

  #forget(spi: string): boolean {
    const sa = this.#wanted.get(spi);
    if (!sa) return false;
    this.#wantedSet.remove(spiWords(sa.id!), sa.revision);
    this.#wanted.delete(spi);
    return true;
  }
}

function take(set: Set<string>, most: number): string[] {
  const items = [...set.values().take(most)];
  for (const item of items) set.delete(item);
  return items;
}
