/**
 * An IKE message as nft's rules see it: on port 4500 behind a marker, on port 500 without, and so 32 bits nearer to the UDP header.
 * Bits are counted from there, behind a marker: SPIi 96, SPIr 160, next payload to flags 224, version 232, exchange type 240, flags 248, id 256.
 */

import { INFORMATIONAL_WORD } from '../../../../workers/ikev1/informational.ts';
import {
  EXCHANGE_INFORMATIONAL,
  FLAG_INITIATOR,
  FLAG_RESPONSE,
  falseMarker,
  falseWord,
  IKE_PORT,
  MARKER_LENGTH,
  NAT_T_PORT,
  type Order,
  PAYLOAD_SK,
  PAYLOAD_SKF,
  VERSION_2,
} from '../../../../workers/ikev2/header.ts';
import { CANARY_SPI } from '../../../../workers/path/canary.ts';

/** Exchanges of parked SAs (RFC 7296, RFC 9370 section 2.2.4): CREATE_CHILD_SA, INFORMATIONAL, IKE_FOLLOWUP_KE. */
const EXCHANGES = [36, EXCHANGE_INFORMATIONAL, 44] as const;
/**
 * All words, from next payload to flags, in messages that a shard sends: requests to spokes, responses to the daemon, and of IKEv1
 * Informationals to both.
 */
const WORDS: readonly number[] = [
  INFORMATIONAL_WORD,
  ...[0, FLAG_INITIATOR, FLAG_RESPONSE, FLAG_RESPONSE | FLAG_INITIATOR].flatMap((flags) =>
    [PAYLOAD_SK, PAYLOAD_SKF].flatMap((payload) =>
      EXCHANGES.map((exchange) => payload * 0x1000000 + VERSION_2 * 0x10000 + exchange * 0x100 + flags),
    ),
  ),
];

export const hex = (value: number) => `0x${value.toString(16)}`;

export class Framing {
  readonly port: number;
  /** Distance of the message from where it is behind a marker, bits. */
  readonly #shift: number;

  private constructor(port: number, shift: number) {
    this.port = port;
    this.#shift = shift;
  }

  static readonly marked = new Framing(NAT_T_PORT, 0);
  static readonly bare = new Framing(IKE_PORT, 8 * MARKER_LENGTH);

  /** Matches IKE from this port or to it, and no data packets. */
  is(side: 'sport' | 'dport'): string {
    const port = `udp ${side} ${this.port}`;
    return this === Framing.marked ? `${port} @th,64,32 0x0` : port;
  }

  get response(): string {
    return `${this.#at(248, 8)} & ${hex(FLAG_RESPONSE)} == ${hex(FLAG_RESPONSE)}`;
  }

  /** A request of IKEv2: IKEv1 has message ids at random, so no other field tells its messages from those of a parked daemon. */
  get request(): string {
    return `${this.#at(232, 8)} ${hex(VERSION_2)} ${this.#at(248, 8)} & ${hex(FLAG_RESPONSE)} == 0x0`;
  }

  /** An encrypted Informational of IKEv1 on an SA in care whose shard is alive. */
  informationalV1(shards: number): string {
    const low = this.#at(192, 32);
    return `${this.#at(224, 32)} ${hex(INFORMATIONAL_WORD)} ${low} @care ${low} & ${hex(shards - 1)} @alive`;
  }

  /** Notes that the shard which sent a canary is alive. */
  get noteAlive(): string {
    return `update @alive { ${this.#at(192, 32)} }`;
  }

  get canary(): string {
    const low = hex(Number(CANARY_SPI & 0xffffffffn));
    return `${this.#at(96, 32)} ${hex(Number(CANARY_SPI >> 32n))} ${this.#at(128, 32)} ${low}`;
  }

  get noCanary(): string {
    return `${this.#at(96, 32)} != ${hex(Number(CANARY_SPI >> 32n))}`;
  }

  /** An id of a parked daemon. */
  get parkedId(): string {
    return `${this.#at(256, 8)} & 0xc0 == 0x40`;
  }

  /** An answer on an SA in care, to an id that is not the daemon's own; or a canary. */
  get answer(): string {
    const exchanges = EXCHANGES.map(hex).join(', ');
    return `${this.#at(240, 8)} { ${exchanges} } ${this.response} ${this.#at(256, 8)} & 0xc0 == 0x0 ${this.#at(192, 32)} @care`;
  }

  /** The shard that an SA, or a canary, belongs to. */
  shardBits(shards: number): string {
    return `${this.#at(216, 8)} & ${hex(shards - 1)}`;
  }

  /** Matches a shard's message with this order (see header.ts), and turns it into an IKE message. */
  ordered(order: Order): { readonly match: string; readonly makeGood: string } {
    if (this === Framing.marked)
      return { match: `@th,64,32 ${hex(falseMarker(order))}`, makeGood: '@th,64,32 set 0x0' };
    const field = this.#at(224, 32);
    const falseWords = WORDS.map((word) => hex(falseWord(order, word)));
    const pairs = WORDS.map((word, n) => `${falseWords[n]} : ${hex(word)}`);
    return {
      match: `${field} { ${falseWords.join(', ')} }`,
      makeGood: `${field} set ${field} map { ${pairs.join(', ')} }`,
    };
  }

  #at(bit: number, length: number): string {
    return `@th,${bit - this.#shift},${length}`;
  }
}
