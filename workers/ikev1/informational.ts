/**
 * The IKEv1 Informational on the wire (RFC 2409 section 5.7, RFC 2408): header, then, encrypted, HASH(1) and the notification. Offsets of
 * the header are those of ikev2/header.ts: both versions have the same one.
 */

import { copy } from '../base/bytes.ts';
import { MAX_MESSAGE_LENGTH } from '../base/limits.ts';
import { fastestPrfCbc, type PrfCbc } from '../crypto/prf-cbc.ts';
import { MARKER_LENGTH, Offset } from '../ikev2/header.ts';
import { FIRST_IKEV1_SUITE, IKEV1_SUITES, type Ikev1Keys, type Ikev1Suite } from './suites.ts';

export const VERSION_1 = 0x10;
const EXCHANGE_INFORMATIONAL_V1 = 5;
/** The payloads are encrypted. */
const FLAG_ENCRYPTED = 0x01;
const PAYLOAD_HASH = 8;
const PAYLOAD_NOTIFY = 11;
/** Next payload to flags in one word, of every Informational that DPD may be in. */
export const INFORMATIONAL_WORD =
  PAYLOAD_HASH * 0x1000000 + VERSION_1 * 0x10000 + EXCHANGE_INFORMATIONAL_V1 * 0x100 + FLAG_ENCRYPTED;

/** Notify message types (RFC 3706 section 5.3). */
export const Notify = { R_U_THERE: 36136, R_U_THERE_ACK: 36137 } as const;
export type Notify = (typeof Notify)[keyof typeof Notify];

/** IPsec's domain of interpretation, and the protocol ISAKMP in it. */
const DOI_IPSEC = 1;
const PROTOCOL_ISAKMP = 1;
/** Both cookies name the SA. */
const SPI_LENGTH = 16;
/** Next payload, a zero byte, and the length of the payload. */
const PAYLOAD_HEADER = 4;
/** DOI, protocol, length of the SPI, and type. */
const NOTIFY_HEADER = 8;
/** A DPD notification as a whole, with its sequence number of 4 bytes. */
const NOTIFY_LENGTH = PAYLOAD_HEADER + NOTIFY_HEADER + SPI_LENGTH + 4;
const ID_LENGTH = 4;
/** A header has so many bytes behind the marker; then the payloads begin. */
const BODY = Offset.SK;

/** By position, made when the first message needs it. */
const CIPHERS: (PrfCbc | undefined)[] = IKEV1_SUITES.map(() => undefined);

function cipherOf({ index, cipher, hash, keyLength, hashLength, blockLength }: Ikev1Suite): PrfCbc {
  const n = index - FIRST_IKEV1_SUITE;
  CIPHERS[n] ??= fastestPrfCbc({
    cipher,
    hash,
    key: keyLength,
    prfKey: hashLength,
    block: blockLength,
    message: MAX_MESSAGE_LENGTH,
  });
  return CIPHERS[n];
}

/** Whether a datagram has the shape of an encrypted Informational. Says nothing about who wrote it. */
export function isInformationalV1(datagram: Buffer): boolean {
  const { length } = datagram;
  return (
    length > BODY &&
    length <= MAX_MESSAGE_LENGTH &&
    datagram.readUInt32BE(Offset.MARKER) === 0 &&
    datagram.readUInt32BE(Offset.NEXT_PAYLOAD) === INFORMATIONAL_WORD &&
    datagram.readUInt32BE(Offset.MESSAGE_ID) !== 0 &&
    datagram.readUInt32BE(Offset.LENGTH) === length - MARKER_LENGTH
  );
}

/** Length of a whole datagram with a DPD notification, marker included, bytes. */
export function dpdLength({ hashLength, blockLength }: Ikev1Suite): number {
  const text = PAYLOAD_HEADER + hashLength + NOTIFY_LENGTH;
  return BODY + Math.ceil(text / blockLength) * blockLength;
}

/**
 * Writes and seals a DPD notification (RFC 3706 section 5.3). The SPIs must be in the datagram already.
 * @param messageId random, not 0, and never used before on this SA
 * @param datagram of exactly {@link dpdLength} bytes
 */
export function sealDpd(
  suite: Ikev1Suite,
  keys: Ikev1Keys,
  type: Notify,
  sequence: number,
  messageId: number,
  datagram: Buffer,
): void {
  datagram.writeUInt32BE(0, Offset.MARKER);
  datagram.writeUInt32BE(INFORMATIONAL_WORD, Offset.NEXT_PAYLOAD);
  datagram.writeUInt32BE(messageId, Offset.MESSAGE_ID);
  datagram.writeUInt32BE(datagram.length - MARKER_LENGTH, Offset.LENGTH);
  const cipher = begin(suite, keys, datagram);
  const { text, signed, digest } = cipher.parts;
  const { hashLength } = suite;
  const hashPayload = PAYLOAD_HEADER + hashLength;
  // HASH(1) is the prf of message id and notification (RFC 2409 section 5.7).
  writeNotify(signed, ID_LENGTH, datagram, type, sequence);
  cipher.sign(ID_LENGTH + NOTIFY_LENGTH);
  text.writeUInt32BE(PAYLOAD_NOTIFY * 0x1000000 + hashPayload, 0);
  copy(digest, 0, text, PAYLOAD_HEADER, hashLength);
  copy(signed, ID_LENGTH, text, hashPayload, NOTIFY_LENGTH);
  const length = datagram.length - BODY;
  text.fill(0, hashPayload + NOTIFY_LENGTH, length);
  cipher.encrypt(length);
  copy(text, 0, datagram, BODY, length);
}

/** What an Informational says. */
export const Content = { FORGED: 0, R_U_THERE: 1, ACK: 2, OTHER: 3 } as const;
export type Content = (typeof Content)[keyof typeof Content];

/** Of the DPD notification that {@link openInformational} found last. */
export const found = { sequence: 0 };

/**
 * Opens a datagram of the shape that {@link isInformationalV1} tells, which stays as it is: FORGED if its hash is not right. DPD is in
 * the first notification behind the hash; another payload behind that is allowed.
 */
export function openInformational(suite: Ikev1Suite, keys: Ikev1Keys, datagram: Buffer): Content {
  const { blockLength, hashLength } = suite;
  const length = datagram.length - BODY;
  if (length % blockLength !== 0 || length < PAYLOAD_HEADER + hashLength) return Content.FORGED;
  const cipher = begin(suite, keys, datagram);
  const { text, signed, digest } = cipher.parts;
  copy(datagram, BODY, text, 0, length);
  cipher.decrypt(length);
  const hashPayload = PAYLOAD_HEADER + hashLength;
  if (text.readUInt16BE(2) !== hashPayload) return Content.FORGED;
  const end = payloadsEnd(text, hashPayload, length);
  if (end < 0) return Content.FORGED;
  copy(text, hashPayload, signed, ID_LENGTH, end - hashPayload);
  cipher.sign(ID_LENGTH + end - hashPayload);
  // All of it is compared, so that the time says nothing.
  let differs = 0;
  for (let n = 0; n < hashLength; n++) differs |= digest[n]! ^ text[PAYLOAD_HEADER + n]!;
  if (differs !== 0) return Content.FORGED;
  return text[0] === PAYLOAD_NOTIFY ? readNotify(text, hashPayload) : Content.OTHER;
}

/** Where the last payload of the chain behind the hash ends; the rest is padding. -1 if the chain is broken. */
function payloadsEnd(text: Buffer, from: number, length: number): number {
  let at = from;
  for (let next = text[0]!; next !== 0; ) {
    if (at + PAYLOAD_HEADER > length) return -1;
    const payload = text.readUInt16BE(at + 2);
    if (payload < PAYLOAD_HEADER || at + payload > length) return -1;
    next = text[at]!;
    at += payload;
  }
  return at;
}

/** Cookies are not compared, as daemons do not either (RFC 3706 section 5.3: should): the message is authentic. */
function readNotify(text: Buffer, at: number): Content {
  if (text.readUInt16BE(at + 2) !== NOTIFY_LENGTH) return Content.OTHER;
  const type = text.readUInt16BE(at + PAYLOAD_HEADER + 6);
  if (type !== Notify.R_U_THERE && type !== Notify.R_U_THERE_ACK) return Content.OTHER;
  const spi = at + PAYLOAD_HEADER + NOTIFY_HEADER;
  if (text[spi - 3] !== SPI_LENGTH) return Content.OTHER;
  found.sequence = text.readUInt32BE(spi + SPI_LENGTH);
  return type === Notify.R_U_THERE ? Content.R_U_THERE : Content.ACK;
}

function writeNotify(to: Buffer, at: number, datagram: Buffer, type: Notify, number: number): void {
  to.writeUInt32BE(NOTIFY_LENGTH, at);
  to.writeUInt32BE(DOI_IPSEC, at + 4);
  to.writeUInt32BE(PROTOCOL_ISAKMP * 0x1000000 + SPI_LENGTH * 0x10000 + type, at + 8);
  copy(datagram, Offset.SPI_I, to, at + PAYLOAD_HEADER + NOTIFY_HEADER, SPI_LENGTH);
  to.writeUInt32BE(number, at + NOTIFY_LENGTH - 4);
}

/** Gives a cipher the keys and the message id: in what the IV is made of (RFC 2409 appendix B), and in what is signed. */
function begin(suite: Ikev1Suite, keys: Ikev1Keys, datagram: Buffer): PrfCbc {
  const cipher = cipherOf(suite);
  const { key, prfKey, seed, signed } = cipher.parts;
  copy(keys.encryptionKey, 0, key, 0, suite.keyLength);
  copy(keys.skeyidA, 0, prfKey, 0, suite.hashLength);
  copy(keys.phase1Block, 0, seed, 0, suite.blockLength);
  copy(datagram, Offset.MESSAGE_ID, seed, suite.blockLength, ID_LENGTH);
  copy(datagram, Offset.MESSAGE_ID, signed, 0, ID_LENGTH);
  return cipher;
}
