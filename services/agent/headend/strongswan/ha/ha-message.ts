/**
 * Messages of charon's ha plugin (strongSwan, src/libcharon/plugins/ha/ha_message.h and .c). One byte version, one byte type, then
 * attributes: one byte number and a value whose form the number tells. Attribute numbers moved in 6.0.1, when ADD_SECRET was
 * inserted at 18 and ALG_ADD_KES at 26; the version byte was raised for that.
 */

import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import { Address, FAMILY_NUMBER } from '../../../../../workers/base/address.ts';
import { HaFormatError } from '../../../../../workers/base/errors.ts';

export const HaType = {
  IKE_ADD: 1,
  IKE_UPDATE: 2,
  IKE_MID_INITIATOR: 3,
  IKE_MID_RESPONDER: 4,
  IKE_DELETE: 5,
  CHILD_ADD: 6,
  CHILD_DELETE: 7,
  SEGMENT_DROP: 8,
  SEGMENT_TAKE: 9,
  STATUS: 10,
  RESYNC: 11,
  IKE_IV: 12,
} as const;

/** An IKE SA as the plugin names it. */
export type HaSaId = {
  readonly version: number;
  /** 8 bytes each, as on the wire. */
  readonly spiI: Buffer;
  readonly spiR: Buffer;
  /** charon is the SA's original initiator. */
  readonly initiator: boolean;
};

export type HaHost = { readonly address: string; readonly port: number };

/** A message's attributes by name. Of repeated attributes the last one counts, or they are omitted. */
export type HaMessage = {
  readonly version: number;
  readonly type: number;
  ikeId?: HaSaId;
  rekeyId?: HaSaId;
  remoteId?: string;
  localAddress?: HaHost;
  remoteAddress?: HaHost;
  configName?: string;
  nonceI?: Buffer;
  nonceR?: Buffer;
  secret?: Buffer;
  /** Of the further key exchanges of a rekeying (RFC 9370), one behind the other. */
  addSecret?: Buffer;
  oldSkD?: Buffer;
  prf?: number;
  oldPrf?: number;
  encryption?: number;
  /** Bits. */
  encryptionLength?: number;
  integrity?: number;
  /** Methods of further key exchanges, 2 bytes each. */
  furtherMethods?: Buffer;
  /** As the kernel and vici name it. */
  inboundSpi?: number;
  outboundSpi?: number;
  mid?: number;
  /** charon's bits of what the peer supports (ike_sa.h), without those that only builds of one's own have. */
  extensions?: number;
  /** Of IKEv1: pre-shared key, or else the method of authentication; and the last block of a message of phase 1. */
  psk?: Buffer;
  authMethod?: number;
  iv?: Buffer;
};

type Form = 'spi' | 'sa' | 'identity' | 'host' | 'string' | 'u8' | 'u16' | 'u32' | 'chunk' | 'selector';
type Attribute = readonly [form: Form, name?: Exclude<keyof HaMessage, 'version' | 'type'>];

/** Attributes of 5.4 to 6.0.0 in order of their numbers, from 1. */
const ATTRIBUTES_5_4: readonly Attribute[] = [
  ['sa', 'ikeId'],
  ['sa', 'rekeyId'],
  ['identity'],
  ['identity', 'remoteId'],
  ['identity'],
  ['host', 'localAddress'],
  ['host', 'remoteAddress'],
  ['string', 'configName'],
  ['u32'],
  ['u32', 'extensions'],
  ['host'],
  ['host'],
  ['host'],
  ['u8'],
  ['chunk', 'nonceI'],
  ['chunk', 'nonceR'],
  ['chunk', 'secret'],
  ['chunk', 'oldSkD'],
  ['u16', 'prf'],
  ['u16', 'oldPrf'],
  ['u16', 'encryption'],
  ['u16', 'encryptionLength'],
  ['u16', 'integrity'],
  ['u16'],
  ['u8'],
  ['u8'],
  ['spi', 'inboundSpi'],
  ['spi', 'outboundSpi'],
  ['u16'],
  ['u16'],
  ['selector'],
  ['selector'],
  ['u32', 'mid'],
  ['u16'],
  ['u16'],
  ['u8'],
  ['chunk'],
  ['chunk'],
  ['chunk', 'psk'],
  ['chunk', 'iv'],
  ['u16', 'authMethod'],
];
const ATTRIBUTES_6_0_1: readonly Attribute[] = ATTRIBUTES_5_4.toSpliced(17, 0, ['chunk', 'addSecret']).toSpliced(
  25,
  0,
  ['chunk', 'furtherMethods'],
);

type Version = {
  /** strongSwan's releases that speak it. */
  readonly releases: string;
  readonly attributes: readonly Attribute[];
  /** Numbers of the attributes that we send. */
  readonly mid: number;
  readonly segment: number;
};

/**
 * By version byte. 4 and 5 differ in the meaning of an attribute that is not read here. 5.0 to 5.3 also send 3, but with other numbers.
 */
const VERSIONS: Readonly<Record<number, Version>> = {
  3: { releases: '5.4.0 to 6.0.0', attributes: ATTRIBUTES_5_4, mid: 33, segment: 34 },
  4: { releases: '6.0.1', attributes: ATTRIBUTES_6_0_1, mid: 35, segment: 36 },
  5: { releases: '6.0.2 to 6.1.0', attributes: ATTRIBUTES_6_0_1, mid: 35, segment: 36 },
};
const IKE_ID = 1;
/** EXT_PRIVATE_MARKER of charon's ike_sa.h. */
const PRIVATE_MARKER = 1 << 31;
const TS_IPV6_RANGE = 8;
/** Identity types (RFC 7296 section 3.5): an address, and those that are text. */
const ID_IPV4 = 1;
const TEXT_IDS = new Set([2, 3, 11]);

/** Version bytes that are supported, and the releases that send them. */
const KNOWN = Object.entries(VERSIONS).map(([version, { releases }]) => `${version} (strongSwan ${releases})`);

/** Decodes a message. Throws HaFormatError. */
export function decodeHa(datagram: Buffer): HaMessage {
  if (datagram.length < 2) throw new HaFormatError(`${datagram.length} bytes`);
  const [version, type] = [datagram[0]!, datagram[1]!];
  const known = VERSIONS[version];
  if (!known) throw new HaFormatError(`version byte ${version}, known are ${KNOWN.join(', ')}`);
  const reader = new Reader(datagram, 2);
  const message: HaMessage = { version, type };
  while (!reader.done) {
    const number = reader.uint(1);
    const attribute = known.attributes[number - 1];
    if (!attribute) throw new HaFormatError(`attribute ${number} of version ${version}`);
    const [form, name] = attribute;
    const value = reader.value(form);
    // Extensions come twice: once more with those that are private to a build.
    const isPrivate = name === 'extensions' && ((value as number) & PRIVATE_MARKER) !== 0;
    if (name && !isPrivate) Object.assign(message, { [name]: value });
  }
  return message;
}

/** Encodes IKE_MID_INITIATOR: sets charon's own request counter. charon ignores a `mid` of 0. */
export function encodeMidInitiator(version: number, id: HaSaId, mid: number): Buffer {
  const bytes = Buffer.alloc(2 + 1 + 18 + 1 + 4);
  bytes[0] = version;
  bytes[1] = HaType.IKE_MID_INITIATOR;
  bytes[2] = IKE_ID;
  bytes[3] = id.version;
  id.spiI.copy(bytes, 4);
  id.spiR.copy(bytes, 12);
  bytes[20] = id.initiator ? 1 : 0;
  bytes[21] = VERSIONS[version]!.mid;
  bytes.writeUInt32BE(mid, 22);
  return bytes;
}

/** Encodes RESYNC of segment 1: charon sends every SA again, and rekeys every child SA. */
export function encodeResync(version: number): Buffer {
  return Buffer.of(version, HaType.RESYNC, VERSIONS[version]!.segment, 0, 1);
}

/** Encodes a message that charon reads and ignores: when charon has read it, it has handled all messages before. */
export function encodeBarrier(version: number): Buffer {
  return Buffer.of(version, HaType.CHILD_DELETE);
}

class Reader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new HaFormatError('message ends within an attribute');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  uint(length: 1 | 2 | 4): number {
    return this.take(length).readUIntBE(0, length);
  }

  value(form: Form): unknown {
    switch (form) {
      case 'u8':
        return this.uint(1);
      case 'u16':
        return this.uint(2);
      case 'u32':
        return this.uint(4);
      case 'spi': {
        // charon keeps SPIs in network order, and converts them to network order once more.
        const bytes = this.take(4);
        return endianness() === 'LE' ? bytes.readUInt32LE() : bytes.readUInt32BE();
      }
      case 'chunk':
        return Buffer.from(this.take(this.uint(2)));
      case 'string':
        return this.#string();
      case 'sa':
        return {
          version: this.uint(1),
          spiI: Buffer.from(this.take(8)),
          spiR: Buffer.from(this.take(8)),
          initiator: this.uint(1) !== 0,
        } satisfies HaSaId;
      case 'identity': {
        const type = this.uint(1);
        return identityText(type, this.take(this.uint(1)));
      }
      case 'host': {
        const port = this.uint(2);
        return { port, address: addressText(this.take(addressLength(this.uint(1)))) } satisfies HaHost;
      }
      case 'selector': {
        const type = this.uint(1);
        return this.take(1 + 2 + 2 + 1 + 2 * (type === TS_IPV6_RANGE ? 16 : 4));
      }
    }
  }

  #string(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw new HaFormatError('text without an end');
    const text = this.#bytes.toString('utf8', this.#at, end);
    this.#at = end + 1;
    return text;
  }
}

function addressLength(family: number): number {
  if (family === FAMILY_NUMBER[4]) return 4;
  if (family === FAMILY_NUMBER[6]) return 16;
  throw new HaFormatError(`address family ${family}`);
}

function addressText(bytes: Buffer): string {
  const address = new Address();
  if (bytes.length === 4) address.v4 = bytes.readUInt32BE();
  else {
    address.family = 6;
    bytes.copy(address.bytes);
  }
  return address.toString();
}

function identityText(type: number, bytes: Buffer): string {
  if (TEXT_IDS.has(type)) return bytes.toString('utf8');
  if (type === ID_IPV4 && bytes.length === 4) return addressText(bytes);
  // Binary names, such as distinguished names, until vici gives their text.
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
