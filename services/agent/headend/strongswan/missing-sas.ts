/**
 * SAs that charon lists but its feed never announced. Rekeying such an SA usually brings a successor that the feed announces, with keys.
 * But charon 6.0.0 does not announce rekeyings with further key exchanges. So a peer must not be rekeyed again and again.
 */

import type { ListedSa } from './vici/sas.ts';

/** Polls in a row that must miss an SA. */
const MISSED_POLLS = 2;
/** A peer's SA is not rekeyed for its keys again before this, ms. */
const AGAIN_MS = 600_000;

export class MissingSas {
  /** Polls in a row that missed an SA, by SPI pair. */
  readonly #polls = new Map<string, number>();
  /** When an SA of a peer was rekeyed, by name and address. */
  readonly #rekeyedAt = new Map<string, number>();

  /** Whether some were missed by the latest poll. */
  get any(): boolean {
    return this.#polls.size > 0;
  }

  /** A poll missed an SA. True if it was missed for long enough to do something about it. */
  missed(spi: string): boolean {
    const polls = (this.#polls.get(spi) ?? 0) + 1;
    this.#polls.set(spi, polls);
    return polls >= MISSED_POLLS;
  }

  /** An SA is not missing any more, or is being handled. */
  settle(spi: string): void {
    this.#polls.delete(spi);
  }

  /** Forgets SAs that charon does not list any more. */
  keep(listed: ReadonlySet<string>): void {
    for (const spi of this.#polls.keys()) if (!listed.has(spi)) this.#polls.delete(spi);
  }

  /** Whether an SA is to be rekeyed for its keys; then it counts as done. */
  mayRekey({ remoteId, remote }: Pick<ListedSa, 'remoteId' | 'remote'>, nowMs: number): boolean {
    for (const [peer, at] of this.#rekeyedAt) if (nowMs - at >= AGAIN_MS) this.#rekeyedAt.delete(peer);
    const peer = `${remoteId} ${remote.address}:${remote.port}`;
    if (this.#rekeyedAt.has(peer)) return false;
    this.#rekeyedAt.set(peer, nowMs);
    return true;
  }
}
