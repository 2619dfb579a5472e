/**
 * The way that a shard's probes take: what the headend says of it, the lease, and the canaries that go along, whose
 * vouchers open the interlock.
 */

import type { Interlock, Ownership } from '../liveness/interlock.ts';
import { SendBuffers } from '../net/send-buffers.ts';
import type { ShardPath } from '../shard/protocol.ts';
import { CANARY_INTERVAL_MS, CANARY_LENGTH, CanaryLog, VOUCHER_MS } from './canary.ts';

/** A canary follows the last probe of a suspicion, but not more often than this, ms. */
const CANARY_SPACING_MS = 20;

export class ProbePath {
  readonly #interlock: Interlock;
  readonly #send: (message: Buffer, address: number, port: number) => boolean;
  readonly #buffers = new SendBuffers();
  readonly #canaries: CanaryLog;
  #path: ShardPath | undefined;
  #ownership: Ownership | undefined;
  #canaryAt = Number.NEGATIVE_INFINITY;
  #canaryWanted = false;
  /** Canaries sent, and vouchers for them. */
  readonly count = { canariesSent: 0, vouchers: 0 };

  /**
   * @param first number of the first canary
   * @param send as of ShardIo
   */
  constructor(interlock: Interlock, first: number, send: (message: Buffer, address: number, port: number) => boolean) {
    this.#interlock = interlock;
    this.#canaries = new CanaryLog(first);
    this.#send = send;
  }

  /** Whether probes carry the marker of a guarded hub, and SAs have to be parked there. */
  get guarded(): boolean {
    return this.#path?.guarded ?? false;
  }

  /** The headend says how probes leave. */
  set(path: ShardPath): void {
    this.#path = path;
    this.#tellInterlock();
    if (!path.ready) this.#interlock.distrust();
  }

  /** How long the shard is ours. */
  own(ownership: Ownership): void {
    this.#ownership = ownership;
    this.#tellInterlock();
  }

  /** The headend saw this canary leave as it should. */
  vouch(canary: number): void {
    const sentAt = this.#canaries.seen(canary);
    if (sentAt === undefined || !this.#path?.ready) return;
    this.count.vouchers++;
    this.#interlock.vouch(sentAt, sentAt + VOUCHER_MS);
  }

  /** Whether the path is known to have failed at some moment of this time. */
  failed(fromMs: number, toMs: number): boolean {
    return this.#canaries.missed(fromMs, toMs);
  }

  /** A verdict will need a canary sent after this moment. */
  wantCanary(): void {
    this.#canaryWanted = true;
  }

  /** Sends a canary if one is due. */
  tick(nowMs: number): void {
    if (nowMs < this.#canaryDueMs) return;
    this.#canaryWanted = false;
    this.#canaryAt = nowMs;
    if (!this.#path?.ready || this.#path.canaryPort === 0) return;
    const message = this.#buffers.next(CANARY_LENGTH);
    this.#canaries.write(nowMs, this.guarded, message);
    if (this.#send(message, this.#path.canaryAddress, this.#path.canaryPort)) this.count.canariesSent++;
  }

  /** No canary will be sent before this moment, ms. */
  get idleUntilMs(): number {
    return this.#path?.ready ? this.#canaryDueMs : Number.POSITIVE_INFINITY;
  }

  get #canaryDueMs(): number {
    return this.#canaryAt + (this.#canaryWanted ? CANARY_SPACING_MS : CANARY_INTERVAL_MS);
  }

  #tellInterlock(): void {
    if (this.#ownership) this.#interlock.own(this.#ownership, this.#path?.open ?? false);
  }
}
