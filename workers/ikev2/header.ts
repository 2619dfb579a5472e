/** The IKE header on the wire (RFC 7296 section 3.1) and the marker before it on port 4500 (RFC 3948 section 2.2). */

import { MAX_MESSAGE_LENGTH } from '../base/limits.ts';

/** Zero bytes that tell IKE from ESP on a UDP-encapsulated port. */
export const MARKER_LENGTH = 4;
/** IKE's UDP port with NAT traversal (RFC 3948), and without: there no marker precedes a message. */
export const NAT_T_PORT = 4500;
export const IKE_PORT = 500;
export const PAYLOAD_SK = 46;
/** A fragment of an encrypted payload (RFC 7383 section 2.5). */
export const PAYLOAD_SKF = 53;
export const VERSION_2 = 0x20;
export const EXCHANGE_INFORMATIONAL = 37;
/** The sender is the SA's original initiator. */
export const FLAG_INITIATOR = 0x08;
export const FLAG_RESPONSE = 0x20;

/**
 * The order to the headend's rules for a message: 2n, send it to the spoke from the headend's end number n; 2n + 1, hand it to the
 * headend's own daemon as if the spoke had sent it there. The order overwrites a field that an IKE message needs, so that a message
 * which misses the rules is no IKE message for any receiver. A rule that restores the field leaves the UDP checksum right (RFC 1071).
 */
export type Order = number;
/** How many of the headend's ends a marker can name, and how many a message without a marker. */
export const MAX_MARKER_INDEX = 0x7ffe;
export const MAX_BARE_INDEX = 63;

export function orderToSpoke(index: number): Order {
  return 2 * index;
}

export function orderToDaemon(index: number): Order {
  return 2 * index + 1;
}

/** In place of the marker: its two 16-bit words add up to 0xFFFF, which is zero in one's complement, as the true one is. */
export function falseMarker(order: Order): number {
  return order * 0x10000 + (0xffff - order);
}

/**
 * In place of next payload, version, exchange and flags, where there is no marker: the two 16-bit words change places, and the
 * order is added to the first and subtracted from the second.
 */
export function falseWord(order: Order, word: number): number {
  return ((word & 0xffff) + order) * 0x10000 + ((word >>> 16) - order);
}

/** Offsets from the start of the datagram, marker included. */
export const Offset = {
  MARKER: 0,
  SPI_I: 4,
  SPI_R: 12,
  /** Next payload, version, exchange, flags: one word. */
  NEXT_PAYLOAD: 20,
  VERSION: 21,
  EXCHANGE: 22,
  FLAGS: 23,
  MESSAGE_ID: 24,
  LENGTH: 28,
  SK: 32,
  SK_LENGTH: 34,
  /** IV of the SK payload. */
  BODY: 36,
} as const;

/**
 * Message ids from here on belong to the headend's daemon: its counter is parked there, and no peer ever gets so far.
 */
export const PARKED_ID = 2 ** 30;
/** Highest next id of a new SA: probed every second, it would take 17 years to reach the daemon's own ids. */
export const MAX_FIRST_ID = PARKED_ID / 2;

/** Where the IV of a datagram's encrypted payload begins: in a fragment, its number and their total come before. */
export function bodyOf(datagram: Buffer): number {
  return datagram[Offset.NEXT_PAYLOAD] === PAYLOAD_SKF ? Offset.BODY + FRAGMENT_LENGTH : Offset.BODY;
}
const FRAGMENT_LENGTH = 4;

/** Number of a fragment and how many there are (RFC 7383 section 2.5); a message in one piece is the only one. */
export function fragmentOf(datagram: Buffer): { readonly number: number; readonly total: number } {
  if (datagram[Offset.NEXT_PAYLOAD] !== PAYLOAD_SKF) return WHOLE;
  return { number: datagram.readUInt16BE(Offset.BODY), total: datagram.readUInt16BE(Offset.BODY + 2) };
}
const WHOLE = { number: 1, total: 1 } as const;

/** Whether an encrypted message is empty, by its header. */
export function isEmpty(datagram: Buffer): boolean {
  return datagram[Offset.NEXT_PAYLOAD] === PAYLOAD_SK && datagram[Offset.SK] === 0;
}

/**
 * Whether a datagram has the shape of an IKEv2 message, or a fragment of one, of any exchange: one encrypted payload, with
 * nothing before it. Says nothing about who wrote it.
 */
export function isEncrypted(datagram: Buffer): boolean {
  const payload = datagram[Offset.NEXT_PAYLOAD];
  const { length } = datagram;
  return (
    length > Offset.BODY + FRAGMENT_LENGTH &&
    length <= MAX_MESSAGE_LENGTH &&
    datagram.readUInt32BE(Offset.MARKER) === 0 &&
    (payload === PAYLOAD_SK || payload === PAYLOAD_SKF) &&
    datagram[Offset.VERSION] === VERSION_2 &&
    datagram.readUInt32BE(Offset.LENGTH) === length - MARKER_LENGTH &&
    datagram.readUInt16BE(Offset.SK_LENGTH) === length - Offset.SK
  );
}

/** Whether a datagram is a request of the headend's own daemon on a parked SA, by its header. */
export function isDaemonRequest(datagram: Buffer): boolean {
  return (
    datagram.length > Offset.BODY &&
    (datagram[Offset.FLAGS]! & FLAG_RESPONSE) === 0 &&
    datagram.readUInt32BE(Offset.MESSAGE_ID) >>> 30 === 1
  );
}

/**
 * Whether a datagram has the shape of an IKEv2 INFORMATIONAL message with one SK payload: marker, version, exchange,
 * lengths. Says nothing about who wrote it.
 */
export function isInformational(datagram: Buffer, response: boolean): boolean {
  const length = datagram.length;
  return (
    length > Offset.BODY &&
    length <= MAX_MESSAGE_LENGTH &&
    datagram.readUInt32BE(Offset.MARKER) === 0 &&
    datagram[Offset.NEXT_PAYLOAD] === PAYLOAD_SK &&
    datagram[Offset.VERSION] === VERSION_2 &&
    datagram[Offset.EXCHANGE] === EXCHANGE_INFORMATIONAL &&
    (datagram[Offset.FLAGS]! & FLAG_RESPONSE) === (response ? FLAG_RESPONSE : 0) &&
    datagram.readUInt32BE(Offset.LENGTH) === length - MARKER_LENGTH &&
    datagram.readUInt16BE(Offset.SK_LENGTH) === length - Offset.SK
  );
}
