/**
 * Canaries: datagrams that go the way of probes, so that the headend can tell what leaves its rules. Shaped like an
 * IKEv2 request, so that the same rules take them, with a fixed initiator SPI that no SA has.
 */

import { EXCHANGE_INFORMATIONAL, GUARD_MARKER, Offset, PAYLOAD_SK, VERSION_2 } from '../ikev2/header.ts';

/** "DPDCANRY": the initiator SPI of every canary. */
export const CANARY_SPI = 0x445044_43414e5259n;
export const CANARY_LENGTH = 32;
/** How often a canary is sent, ms. */
export const CANARY_INTERVAL_MS = 500;
/** How long a canary speaks for the path, from its sending, ms. */
export const VOUCHER_MS = 1_500;

/** Canaries remembered; older vouchers are ignored. */
const REMEMBERED = 256;

/** Numbers canaries and remembers when each was sent. */
export class CanaryLog {
  readonly #sentAt = new Float64Array(REMEMBERED).fill(Number.NEGATIVE_INFINITY);
  readonly #seen = new Uint8Array(REMEMBERED);
  #last: number;

  /** @param first number of the first canary, so that a new owner's are not taken for the former one's */
  constructor(first: number) {
    this.#last = first >>> 0;
  }

  /** Writes the next canary. Returns its length in bytes. */
  write(nowMs: number, guarded: boolean, out: Buffer): number {
    this.#last = (this.#last + 1) >>> 0;
    this.#sentAt[this.#last % REMEMBERED] = nowMs;
    this.#seen[this.#last % REMEMBERED] = 0;
    out.fill(0, 0, CANARY_LENGTH);
    if (guarded) out.writeUInt32BE(GUARD_MARKER, Offset.MARKER);
    out.writeBigUInt64BE(CANARY_SPI, Offset.SPI_I);
    out.writeUInt32BE(this.#last, Offset.SPI_R);
    out[Offset.NEXT_PAYLOAD] = PAYLOAD_SK;
    out[Offset.VERSION] = VERSION_2;
    out[Offset.EXCHANGE] = EXCHANGE_INFORMATIONAL;
    out.writeUInt32BE(CANARY_LENGTH - 4, Offset.LENGTH);
    return CANARY_LENGTH;
  }

  /** The canary with this number was seen leaving. Returns when it was sent, ms, or undefined if it is not remembered. */
  seen(canary: number): number | undefined {
    const age = (this.#last - canary) >>> 0;
    if (age >= REMEMBERED) return undefined;
    const at = this.#sentAt[canary % REMEMBERED]!;
    if (!Number.isFinite(at)) return undefined;
    this.#seen[canary % REMEMBERED] = 1;
    return at;
  }

  /** Whether a canary sent from `fromMs` to `toMs` was not seen leaving: then probes of that time may not have left. */
  missed(fromMs: number, toMs: number): boolean {
    for (let age = 0; age < REMEMBERED; age++) {
      const canary = ((this.#last - age) >>> 0) % REMEMBERED;
      const at = this.#sentAt[canary]!;
      if (at < fromMs) return false;
      if (at <= toMs && this.#seen[canary] === 0) return true;
    }
    return false;
  }
}

/** The number of a canary as it arrives, or undefined if the datagram is none. */
export function readCanary(datagram: Buffer): number | undefined {
  if (datagram.length !== CANARY_LENGTH || datagram.readBigUInt64BE(Offset.SPI_I) !== CANARY_SPI) return undefined;
  return datagram.readUInt32BE(Offset.SPI_R);
}
