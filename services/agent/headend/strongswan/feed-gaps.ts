/**
 * SAs that charon has but its feed has not announced, or not with keys. The agent requests all SAs again, or has one rekeyed.
 */

import type { Logger } from '../../../base/log.ts';
import { careOf } from './care.ts';
import { MissingSas } from './missing-sas.ts';
import type { ListedSa } from './vici/sas.ts';

/** SAs whose keys are asked for by rekeying at a time. */
const LEARNED_AT_ONCE = 5;
/** If at least so many SAs are missing, the agent requests all. */
const RESYNC_FROM = 50;
/** Shortest and longest time between two requests, ms: it doubles while the gaps remain. */
const RESYNC_MS = { first: 60_000, longest: 3_600_000 };

export type FeedGapsContext = {
  /** Requests all SAs from charon. Resolves with false if charon may have missed the request. */
  resync(): Promise<boolean>;
  /** Number of charon's messages that were lost since the last call. */
  lost(): Promise<number>;
  /** Has charon rekey an IKE SA, by its number: the feed announces the new SA, with keys. */
  rekey(uniqueId: string): Promise<unknown>;
  /** An SA cannot be watched. */
  leaveOut(sa: ListedSa, why: string): void;
  readonly log: Logger;
};

export class FeedGaps {
  readonly #context: FeedGapsContext;
  readonly #missing = new MissingSas();
  /** By careOf: SAs that a former agent had taken into care, and may have parked. */
  #steered: ReadonlySet<number> = new Set();
  #resyncedAt = Number.NEGATIVE_INFINITY;
  #resyncMs = RESYNC_MS.first;
  #stopped = false;
  /** SAs of IKEv1 that charon was asked for, by SPI pair. */
  readonly #askedFor = new Set<string>();

  constructor(context: FeedGapsContext) {
    this.#context = context;
  }

  /** SPIs that the rules steered before this agent began. */
  setSteered(steered: ReadonlySet<number>): void {
    this.#steered = steered;
  }

  wasSteered(sa: Parameters<typeof careOf>[0]): boolean {
    return this.#steered.has(careOf(sa));
  }

  /** Whether there is a gap to be closed. */
  get any(): boolean {
    return this.#missing.any;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Requests all SAs again. charon rekeys their children for that, so this must not happen too often. */
  async resync(why: string): Promise<boolean> {
    if (performance.now() - this.#resyncedAt < this.#resyncMs || this.#stopped) return false;
    if (Number.isFinite(this.#resyncedAt)) this.#resyncMs = Math.min(2 * this.#resyncMs, RESYNC_MS.longest);
    this.#resyncedAt = performance.now();
    const { log, resync, lost } = this.#context;
    log.info({ why }, 'charon is asked for all SAs');
    if (!(await resync())) log.warn('charon may not have heard that');
    const count = await lost();
    if (count > 0) log.warn({ lost: count }, "messages of charon's ha plugin were lost");
    return true;
  }

  /**
   * Closes gaps that have stood for some polls.
   * @param sas all that charon lists @param told whether the feed has announced an SA, or need not
   */
  async close(sas: readonly ListedSa[], told: (sa: ListedSa) => boolean): Promise<void> {
    const listed = new Set(sas.map(({ spi }) => spi));
    this.#missing.keep(listed);
    for (const spi of this.#askedFor) if (!listed.has(spi)) this.#askedFor.delete(spi);
    const unknown: ListedSa[] = [];
    const old: ListedSa[] = [];
    for (const sa of sas) {
      if (told(sa)) this.#missing.settle(sa.spi);
      else if (this.#missing.missed(sa.spi)) (sa.version === 1 ? old : unknown).push(sa);
    }
    await this.#closeOld(old);
    if (!this.any) this.#resyncMs = RESYNC_MS.first;
    // If the SA is parked, charon's request would go to its shard, which has no keys for it.
    const parked = unknown.some((sa) => this.wasSteered(sa));
    if (parked || unknown.length >= RESYNC_FROM) await this.resync(`${unknown.length} SAs are not in the feed`);
    else for (const sa of unknown.slice(0, LEARNED_AT_ONCE)) await this.#learnKeys(sa);
  }

  /** Of IKEv1: charon is asked for them once. To rekey one would mean to set it up anew, which not every responder can. */
  async #closeOld(sas: readonly ListedSa[]): Promise<void> {
    const left = sas.filter((sa) => {
      this.#missing.settle(sa.spi);
      if (!this.#askedFor.delete(sa.spi)) return true;
      this.#context.leaveOut(sa, "its keys are not in charon's ha feed: it is watched when it is set up anew");
      return false;
    });
    if (left.length > 0 && (await this.resync(`${left.length} SAs of IKEv1 are not in the feed`)))
      for (const { spi } of left) this.#askedFor.add(spi);
  }

  /** Rekeying brings the SA's successor, with keys. The SA is not parked, so charon gets the answers. */
  async #learnKeys(sa: ListedSa): Promise<void> {
    this.#missing.settle(sa.spi);
    if (!this.#missing.mayRekey(sa, performance.now())) {
      this.#context.leaveOut(sa, "its keys are not in charon's ha feed, and rekeying did not bring them");
      return;
    }
    this.#context.log.warn({ sa: sa.spi, peer: sa.remoteId }, 'SA is not in the feed: rekeyed to learn its keys');
    await this.#context.rekey(sa.uniqueId);
  }
}
