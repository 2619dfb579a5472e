/**
 * SAs on their way into the cluster's care and out of it. The order is the point of this file.
 *
 * Taking: the rules know the hub's address -> the cluster holds the SA with its keys -> answers come to the shard -> charon's request
 * counter is parked -> probing. Nothing is parked that the cluster does not know, so that whoever comes after a crash knows what is.
 * An SA that charon deletes stays for a while, unwatched: charon's own Delete goes through the shard.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { Mode } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { spiFromHex } from '../../../api/spi.ts';
import type { Logger } from '../../../base/log.ts';
import type { AgentSide } from '../headend.ts';
import { endName } from '../nftables/end.ts';
import type { PathGuard } from '../nftables/path-guard.ts';
import type { PeersFile } from '../peers-file.ts';
import type { Parking } from './parking.ts';
import { type SaRecord, toApiSa } from './sa-book.ts';

/** charon repeats a Delete after 4, 11 and 24 s. */
const GONE_MS = 30_000;

export type CareContext = {
  readonly agent: AgentSide;
  readonly guard: PathGuard;
  readonly parking: Parking;
  readonly peers: PeersFile;
  readonly log: Logger;
  /** The SA still stands, as this record. */
  stands(record: SaRecord): boolean;
};

export class Care {
  readonly #context: CareContext;
  /** SAs told to the cluster: from then on changes are told too. */
  readonly #told = new Map<string, SaRecord>();
  /** Who waits for the cluster to hold an SA, by SPI pair. */
  readonly #awaited = new Map<string, () => void>();
  /** SAs that are not watched, by SPI pair, and why. */
  readonly #unwatched = new Map<string, { readonly peer: string; readonly why: string }>();
  #revision = Math.floor(Date.now() / 1_000) >>> 0;
  #stopped = false;

  constructor(context: CareContext) {
    this.#context = context;
  }

  /** SAs that are not watched. */
  get unwatched(): ReadonlyMap<string, { readonly peer: string; readonly why: string }> {
    return this.#unwatched;
  }

  /** Takes an SA into care. On return the cluster has been told of it; the rest follows by itself. */
  async take(record: SaRecord): Promise<void> {
    if (!(await this.#context.guard.addWay(endName(record.local!)))) {
      this.leaveOut(record.spi, record.peerId, `the hub has too many addresses: ${endName(record.local!)}`);
      return;
    }
    if (!this.#isWanted(record)) return;
    this.#told.set(record.spi, record);
    const held = record.heldKeys
      ? Promise.resolve()
      : new Promise<void>((resolve) => this.#awaited.set(record.spi, resolve));
    if (!this.#register(record)) {
      this.#told.delete(record.spi);
      this.#awaited.delete(record.spi);
      return;
    }
    void held.then(() => this.#park(record));
  }

  /** Something about an SA is different. */
  async changed(record: SaRecord): Promise<void> {
    if (this.#told.get(record.spi) !== record) return;
    await this.#context.guard.addWay(endName(record.local!));
    if (this.#isWanted(record)) this.#register(record);
  }

  /** The cluster holds an SA. */
  held(spi: string): void {
    this.#awaited.get(spi)?.();
    this.#awaited.delete(spi);
  }

  /** charon has deleted an SA. */
  async gone(record: SaRecord): Promise<void> {
    this.#unwatched.delete(record.spi);
    this.held(record.spi);
    if (this.#told.get(record.spi) !== record) return;
    this.#told.delete(record.spi);
    if (record.parked) {
      const peer = this.#context.peers.get(record.peerId);
      const policy = { ...peer.policy, mode: Mode.DISABLED };
      this.#context.agent.upsert(toApiSa(record, { ...peer, policy }, ++this.#revision), record.heldKeys);
      await sleep(GONE_MS, undefined, { ref: false });
    }
    // The same SPIs may stand again, as the list of SAs had missed them.
    if (this.#told.has(record.spi)) return;
    this.#context.agent.remove(spiFromHex(record.spi));
    if (record.parked) this.#context.guard.dropCare(careOf(record));
  }

  /** An SA is not watched, and why. */
  leaveOut(spi: string, peer: string, why: string): void {
    if (this.#unwatched.get(spi)?.why === why) return;
    this.#unwatched.set(spi, { peer, why });
    this.#context.log.warn({ sa: spi, peer, why }, 'SA not watched');
  }

  /** SAs that charon has no more need not be named. */
  keepUnwatched(listed: ReadonlySet<string>): void {
    for (const spi of this.#unwatched.keys()) if (!listed.has(spi)) this.#unwatched.delete(spi);
  }

  /** Nothing more is taken into care. */
  stop(): void {
    this.#stopped = true;
  }

  async #park(record: SaRecord): Promise<void> {
    const { guard, parking, log } = this.#context;
    if (!this.#isWanted(record)) return;
    try {
      const ready = (await guard.addCare(careOf(record))) && this.#isWanted(record);
      if (!ready || record.parked) return;
      if (!(await parking.park(record)) || !this.#isWanted(record)) return;
      record.parked = true;
      this.#register(record);
    } catch (error) {
      log.error({ sa: record.spi, reason: (error as Error).message }, 'SA not parked, so not watched');
    } finally {
      if (!record.parked) guard.dropCare(careOf(record));
    }
  }

  #isWanted(record: SaRecord): boolean {
    return !this.#stopped && this.#context.stands(record);
  }

  /** Tells the cluster of an SA as it is now. False if it cannot be told. */
  #register(record: SaRecord): boolean {
    const { agent, peers } = this.#context;
    const refused = agent.upsert(toApiSa(record, peers.get(record.peerId), ++this.#revision), record.heldKeys);
    if (refused) this.leaveOut(record.spi, record.peerId, refused);
    else this.#unwatched.delete(record.spi);
    return !refused;
  }
}

/** By what the rules know an SA: its responder SPI's low word. */
export function careOf({ id }: Pick<SaRecord, 'id'>): number {
  return id.spiR.readUInt32BE(4);
}
