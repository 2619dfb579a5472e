/**
 * The interlock: whether a probe may leave now. The hub's own rules decide who probes its spokes: they name one owner a shard,
 * and canaries come home only to that owner. So a gated peer is probed only while canaries have just come home on both ways: that
 * of its probes, and that of their answers.
 */

import { Flag } from './peers.ts';

/** The two directions of a way: of probes, and of their answers. */
export const Direction = { OUT: 0, IN: 1 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

/** Number of ways out of a headend that a machine can distinguish: one for each of the headend's addresses. */
export const MAX_WAYS = 64;
/** Stands for "no way known": it is never proven. */
export const NO_WAY = 255;

/** All peers of a machine share one interlock; their flags and ways make the difference. */
export class Interlock {
  /** When the newest canary that came home was sent, ms, by way and direction. */
  readonly #sentAt = new Float64Array(2 * MAX_WAYS).fill(Number.NEGATIVE_INFINITY);
  /** Until when it speaks for its way, ms. */
  readonly #until = new Float64Array(2 * MAX_WAYS).fill(Number.NEGATIVE_INFINITY);

  /** A canary sent at `sentAtMs` came home; it speaks for its way in this direction until `untilMs`. */
  vouch(way: number, direction: Direction, sentAtMs: number, untilMs: number): void {
    const at = 2 * way + direction;
    if (way >= MAX_WAYS || sentAtMs <= this.#sentAt[at]!) return;
    this.#sentAt[at] = sentAtMs;
    this.#until[at] = untilMs;
  }

  /** The ways are broken, or have changed: no probe until they are proven again. */
  distrust(): void {
    this.#until.fill(Number.NEGATIVE_INFINITY);
  }

  /** When the newest canaries of a way were sent, ms: the older one of both directions. */
  vouchedAt(way: number): number {
    if (way >= MAX_WAYS) return Number.NEGATIVE_INFINITY;
    return Math.min(this.#sentAt[2 * way]!, this.#sentAt[2 * way + 1]!);
  }

  /** Whether a way is proven in both directions. */
  vouched(way: number, nowMs: number): boolean {
    return way < MAX_WAYS && nowMs < this.#until[2 * way]! && nowMs < this.#until[2 * way + 1]!;
  }

  /** Whether any way is proven in both directions. */
  anyVouched(nowMs: number): boolean {
    for (let way = 0; way < MAX_WAYS; way++) if (this.vouched(way, nowMs)) return true;
    return false;
  }

  /** Whether a peer with these flags, on this way, may be probed. */
  mayProbe(flags: number, way: number, nowMs: number): boolean {
    return (flags & Flag.GATED) === 0 || ((flags & Flag.READY) !== 0 && this.vouched(way, nowMs));
  }
}
