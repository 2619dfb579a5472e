/**
 * The interlock: whether a probe may leave now. The shard must be this node's, and the way through the hub's rules good: a
 * canary was seen leaving there a moment ago, or the way is open to whoever holds the lease.
 */

import { Flag } from './peers.ts';

/** How long the shard is this node's, ms on the machine's clock. */
export type Ownership = {
  /** Before, a former owner may still believe that it is his: nothing gated is probed. */
  readonly fromMs: number;
  /** Until then the lease holds, which is all that an open path needs. */
  readonly untilMs: number;
  /** Until then a headend's voucher is enough, should Redis be away. */
  readonly vouchedUntilMs: number;
};

/** One for all peers of a machine; what differs between them is in their flags. */
export class Interlock {
  /** A machine that nobody else could have is ours for ever. */
  #own: Ownership = {
    fromMs: Number.NEGATIVE_INFINITY,
    untilMs: Number.POSITIVE_INFINITY,
    vouchedUntilMs: Number.POSITIVE_INFINITY,
  };
  #pathOpen = false;
  #vouchedAt = Number.NEGATIVE_INFINITY;
  /** Until when the newest canary speaks for the path, ms. */
  #vouchedUntil = Number.NEGATIVE_INFINITY;

  /** How long the shard is ours. `pathOpen`: the lease is all that gated peers need. */
  own(ownership: Ownership, pathOpen: boolean): void {
    this.#own = ownership;
    this.#pathOpen = pathOpen;
  }

  /** The canary sent at `sentAtMs` left as it should; it speaks for the path until `untilMs`. */
  vouch(sentAtMs: number, untilMs: number): void {
    if (sentAtMs <= this.#vouchedAt) return;
    this.#vouchedAt = sentAtMs;
    this.#vouchedUntil = untilMs;
  }

  /** The path is known to be broken: no probe until it is vouched for again. */
  distrust(): void {
    this.#vouchedUntil = Number.NEGATIVE_INFINITY;
  }

  /** When the newest canary known to have left properly was sent, ms. */
  get vouchedAt(): number {
    return this.#vouchedAt;
  }

  /** Whether the path is vouched for. */
  vouched(nowMs: number): boolean {
    return nowMs < Math.min(this.#vouchedUntil, this.#own.vouchedUntilMs);
  }

  /** Whether probes of a peer with these flags need a vouched path: not on an open one, while the shard is surely ours. */
  needsVoucher(flags: number, nowMs: number): boolean {
    return (flags & Flag.GATED) !== 0 && !(this.#pathOpen && nowMs < this.#own.untilMs);
  }

  /** Whether a peer with these flags may be probed. */
  mayProbe(flags: number, nowMs: number): boolean {
    if ((flags & Flag.GATED) !== 0 && nowMs < this.#own.fromMs) return false;
    return !this.needsVoucher(flags, nowMs) || ((flags & Flag.READY) !== 0 && this.vouched(nowMs));
  }
}
