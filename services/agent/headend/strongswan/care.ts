/**
 * Takes SAs into the cluster's care and out of it. The order of the steps is what matters here.
 *
 * Taking: the rules know the hub's address -> the cluster holds the SA with its keys -> answers come to the shard -> charon's request
 * counter is parked -> probing. Only SAs that the cluster holds are parked, so that after a crash the next agent learns which SAs are
 * parked. An SA that charon deletes stays for a while, unwatched: charon's own Delete goes through the shard.
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
import { isIkev1, type SaRecord, toApiSa } from './sa-book.ts';

/** charon repeats a Delete after 4, 11 and 24 s. */
const GONE_MS = 30_000;

export type CareContext = {
  readonly agent: AgentSide;
  readonly guard: PathGuard;
  readonly parking: Parking;
  readonly peers: PeersFile;
  readonly log: Logger;
  /** Whether the SA still exists, as this record. */
  stands(record: SaRecord): boolean;
};

export class Care {
  readonly #context: CareContext;
  /** SAs registered with the cluster: from then on their changes are reported, too. */
  readonly #told = new Map<string, SaRecord>();
  /** Functions that wait for the cluster to hold an SA, by SPI pair. */
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

  /** Takes an SA into care. On return the SA is registered with the cluster; the rest follows by itself. */
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
    // An SA with the same SPIs may be there again, because the list of SAs had missed it.
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

  /** SAs that charon does not have any more need not be named. */
  keepUnwatched(listed: ReadonlySet<string>): void {
    for (const spi of this.#unwatched.keys()) if (!listed.has(spi)) this.#unwatched.delete(spi);
  }

  /** No more SAs are taken into care. */
  stop(): void {
    this.#stopped = true;
  }

  async #park(record: SaRecord): Promise<void> {
    const { guard, parking, log } = this.#context;
    if (!this.#isWanted(record)) return;
    try {
      const ready = (await guard.addCare(careOf(record))) && this.#isWanted(record);
      if (!ready || record.parked) return;
      // charon ignores stray answers on an SA of IKEv1 as it is, and numbers its messages at random.
      if (!isIkev1(record) && (!(await parking.park(record)) || !this.#isWanted(record))) return;
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

  /** Registers an SA with the cluster as it is now. False if that is not possible. */
  #register(record: SaRecord): boolean {
    const { agent, peers } = this.#context;
    const refused = agent.upsert(toApiSa(record, peers.get(record.peerId), ++this.#revision), record.heldKeys);
    if (refused) this.leaveOut(record.spi, record.peerId, refused);
    else this.#unwatched.delete(record.spi);
    return !refused;
  }
}

/** The key of an SA in the rules: its responder SPI's low word. */
export function careOf({ id }: Pick<SaRecord, 'id'>): number {
  return id.spiR.readUInt32BE(4);
}
