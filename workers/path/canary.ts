/**
 * Canaries: datagrams that take the way of probes, or of their answers, through the headend's rules, and come home. They have the
 * shape of IKEv2 messages, so that the same rules match them, and an initiator SPI that no SA has. The low bits of the responder
 * SPI name the shard, as they do in an SA: the rules bring a canary home to its own shard.
 */

import { always } from '../base/always.ts';
import { EXCHANGE_INFORMATIONAL, FLAG_RESPONSE, Offset, PAYLOAD_SK, VERSION_2 } from '../ikev2/header.ts';
import { Direction } from '../liveness/interlock.ts';

/** "DPDCANRY": the initiator SPI of every canary. */
export const CANARY_SPI = 0x445044_43414e5259n;
/** With its marker, bytes. */
export const CANARY_LENGTH = 32;
/** How often a canary is sent, ms. */
export const CANARY_INTERVAL_MS = 500;
/** How long a canary speaks for the path, from its sending, ms. */
export const VOUCHER_MS = 1_500;
always(2 * CANARY_INTERVAL_MS < VOUCHER_MS, 'a canary may get lost');

/** Number of canaries remembered; older ones prove nothing any more. */
const REMEMBERED = 256;

/** What a canary says of itself. */
export type Canary = { readonly number: number; readonly way: number; readonly direction: Direction };

/** Numbers the canaries of one way and direction, and remembers when each was sent. */
export class CanaryLog {
  readonly #sentAt = new Float64Array(REMEMBERED).fill(Number.NEGATIVE_INFINITY);
  readonly #seen = new Uint8Array(REMEMBERED);
  #last: number;

  /** @param first number of the first canary, so that a new owner's are not taken for the former one's */
  constructor(first: number) {
    this.#last = first >>> 0;
  }

  /** The next canary is sent. Returns its number. */
  next(nowMs: number): number {
    this.#last = (this.#last + 1) >>> 0;
    this.#sentAt[this.#last % REMEMBERED] = nowMs;
    this.#seen[this.#last % REMEMBERED] = 0;
    return this.#last;
  }

  /** The canary with this number came home. Returns when it was sent, ms, or undefined if it is not remembered. */
  seen(canary: number): number | undefined {
    const age = (this.#last - canary) >>> 0;
    if (age >= REMEMBERED) return undefined;
    const at = this.#sentAt[canary % REMEMBERED]!;
    if (!Number.isFinite(at)) return undefined;
    this.#seen[canary % REMEMBERED] = 1;
    return at;
  }

  /** Whether a canary sent from `fromMs` to `toMs` did not come home: then probes of that time may also be lost. */
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

/** Writes a canary. @param out of {@link CANARY_LENGTH} bytes */
export function writeCanary({ number, way, direction }: Canary, shard: number, out: Buffer): void {
  out.fill(0, 0, CANARY_LENGTH);
  out.writeBigUInt64BE(CANARY_SPI, Offset.SPI_I);
  out.writeUInt32BE(number, Offset.SPI_R);
  out.writeUInt32BE(shard, Offset.SPI_R + 4);
  out[Offset.NEXT_PAYLOAD] = PAYLOAD_SK;
  out[Offset.VERSION] = VERSION_2;
  out[Offset.EXCHANGE] = EXCHANGE_INFORMATIONAL;
  out[Offset.FLAGS] = direction === Direction.IN ? FLAG_RESPONSE : 0;
  out.writeUInt32BE(way, Offset.MESSAGE_ID);
  out.writeUInt32BE(CANARY_LENGTH - 4, Offset.LENGTH);
}

/** Reads a canary, or returns undefined if the datagram is none. */
export function readCanary(datagram: Buffer): Canary | undefined {
  if (!isCanary(datagram)) return undefined;
  const direction = (datagram[Offset.FLAGS]! & FLAG_RESPONSE) !== 0 ? Direction.IN : Direction.OUT;
  return { number: datagram.readUInt32BE(Offset.SPI_R), way: datagram.readUInt32BE(Offset.MESSAGE_ID), direction };
}

const SPI_HIGH = Number(CANARY_SPI >> 32n);
const SPI_LOW = Number(CANARY_SPI & 0xffffffffn);

/** Whether a datagram is a canary; most are not, and nothing is made to find out. */
export function isCanary(datagram: Buffer): boolean {
  return (
    datagram.length === CANARY_LENGTH &&
    datagram.readUInt32BE(Offset.SPI_I) === SPI_HIGH &&
    datagram.readUInt32BE(Offset.SPI_I + 4) === SPI_LOW
  );
}
