/** The IKE header on the wire (RFC 7296 section 3.1) and the marker before it on port 4500 (RFC 3948 section 2.2). */

/** Zero bytes that tell IKE from ESP on a UDP-encapsulated port. */
export const MARKER_LENGTH = 4;
export const HEADER_LENGTH = 28;
/** Generic payload header of the SK payload (section 3.14). */
export const PAYLOAD_HEADER_LENGTH = 4;
export const PAYLOAD_SK = 46;
export const VERSION_2 = 0x20;
export const EXCHANGE_INFORMATIONAL = 37;
/** The sender is the SA's original initiator. */
export const FLAG_INITIATOR = 0x08;
export const FLAG_RESPONSE = 0x20;

/**
 * The false marker of a guarded probe. Its two 16-bit words add up to 0xFFFF, which is zero in one's complement, so
 * that a rule which clears it leaves the UDP checksum right (RFC 1071).
 */
export const GUARD_MARKER = 0x0000ffff;

/** Offsets from the start of the datagram, marker included. */
export const Offset = {
  MARKER: 0,
  SPI_I: 4,
  SPI_R: 12,
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

/** Longest message built or opened, bytes, marker included. */
export const MAX_MESSAGE_LENGTH = 1280;

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
