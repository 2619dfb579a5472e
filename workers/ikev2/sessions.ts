/** What a shard needs of each IKE SA, of either version, to send on it: SPIs, keys, message ids, address. A structure of arrays. */

import type { Address } from '../base/address.ts';
import { AddressColumn } from '../base/address-column.ts';
import { copy } from '../base/bytes.ts';
import { roomFor, widen } from '../base/columns.ts';
import { Slab } from '../base/slab.ts';
import type { SpiWords } from '../base/spi.ts';
import { SpiIndex, setSpi, spiAt, spiPairs } from '../base/spi-index.ts';
import type { FillRandom } from '../crypto/random.ts';
import {
  FIRST_IKEV1_SUITE,
  IKEV1_SUITES,
  type Ikev1Keys,
  type Ikev1Suite,
  ikev1MaterialLength,
} from '../ikev1/suites.ts';
import { Offset } from './header.ts';
import type { DirectionKeys } from './sk-payload.ts';
import { keyMaterialLength, SUITES, type Suite } from './suites.ts';

/** IV bytes kept of a request until it is answered, so that a retransmission is bit for bit the same. */
const IV_LENGTH = 16;

export const SessionFlag = {
  /** The handle is in use. */
  USED: 1,
  /** Keys are held: probes are direct. */
  KEYED: 2,
  /** The headend was the original initiator. */
  INITIATOR: 4,
  /** A request with `nextMid` was sent and not answered yet: it has an IV. */
  OUTSTANDING: 8,
  /** The keys are known but sealed: they must be opened before a request is sent. */
  SEALED: 16,
  /** It was taken over: another owner has asked its peer. */
  RESUMED: 32,
  /** A request of the headend's daemon has the id `nextMid` (front/front.ts). */
  TRANSLATED: 64,
  /** The headend's daemon counts its own requests from far ahead. */
  PARKED: 128,
  /** An SA of IKEv1: `nextMid` is its next DPD sequence number. */
  IKEV1: 256,
} as const;

/** Stands for keys that are opened later. */
export const SEALED = 'sealed';

/** Position in SUITES, or number of an IKEv1 suite, and key material as {@link keyMaterial} or ikev1Material lays it out. */
export type SessionKeys = { readonly suite: number; readonly material: Uint8Array };

/** Whether keys are of IKEv1. */
export function isIkev1({ suite }: SessionKeys): boolean {
  return suite >= FIRST_IKEV1_SUITE;
}

/** One SA as it enters the table. */
export type SessionInput = {
  readonly handle: number;
  /** SPIs as two 32-bit words each, big-endian. */
  readonly spi: SpiWords;
  /** Otherwise IKEv2. */
  readonly ikev1?: boolean | undefined;
  readonly headendIsInitiator: boolean;
  /** Remote address, valid only while the SA is being entered, and UDP port. */
  readonly address: Address;
  readonly port: number;
  readonly keys?: SessionKeys | typeof SEALED | undefined;
  readonly nextMid: number;
  /** It was taken over. */
  readonly resumed?: boolean | undefined;
};

export class SessionTable {
  flags = new Uint16Array(0);
  spis = spiPairs(0);
  readonly address = new AddressColumn();
  port = new Uint16Array(0);
  nextMid = new Uint32Array(0);
  /** After a takeover: how far above `nextMid` the next message id may be (takeover/id-uncertainty.ts). */
  uncertainty = new Uint16Array(0);
  /** Which part of the possible ids a probe tries, if one probe cannot try all of them (takeover/id-uncertainty.ts). */
  window = new Uint16Array(0);
  /** Probes sent and answered since the SA was loaded. */
  sent = new Uint32Array(0);
  answered = new Uint32Array(0);
  #suite = new Uint8Array(0);
  #keySlot = new Uint32Array(0);
  /** Place of the outstanding request's IV. */
  #ivSlot = new Uint32Array(0);
  readonly #ivs = new Slab(IV_LENGTH);
  readonly #slabs: readonly Slab[] = SUITES.map((suite) => new Slab(keyMaterialLength(suite)));
  readonly #ikev1Slabs: readonly Slab[] = IKEV1_SUITES.map((suite) => new Slab(ikev1MaterialLength(suite)));
  readonly #index = new SpiIndex();
  /** Buffers in which keys are put for a cipher, by suite. */
  readonly #keys: readonly DirectionKeys[] = SUITES.map((suite) => ({
    encryption: Buffer.alloc(suite.keyLength),
    salt: Buffer.alloc(suite.saltLength),
    integrity: Buffer.alloc(suite.integrityKeyLength),
  }));
  readonly #ikev1Keys: readonly Ikev1Keys[] = IKEV1_SUITES.map((suite) => ({
    encryptionKey: Buffer.alloc(suite.keyLength),
    skeyidA: Buffer.alloc(suite.hashLength),
    phase1Block: Buffer.alloc(suite.blockLength),
  }));

  /** Enters an SA at a free handle. */
  add(input: SessionInput): void {
    const { handle, spi } = input;
    if (handle >= this.flags.length) this.#grow(handle + 1);
    setSpi(this.spis, handle, spi);
    this.flags[handle] =
      SessionFlag.USED |
      (input.headendIsInitiator ? SessionFlag.INITIATOR : 0) |
      (input.ikev1 === true ? SessionFlag.IKEV1 : 0) |
      (input.resumed === true ? SessionFlag.RESUMED : 0);
    this.nextMid[handle] = input.nextMid;
    this.uncertainty[handle] = 0;
    this.window[handle] = 0;
    this.sent[handle] = 0;
    this.answered[handle] = 0;
    this.#index.add(this.spis, handle);
    this.relocate(handle, input.address, input.port);
    if (input.keys) this.setKeys(handle, input.keys);
  }

  /** Gives an SA its keys. An SA's keys never change, so a second call is ignored. Throws RangeError on keys of another IKE version. */
  setKeys(handle: number, keys: NonNullable<SessionInput['keys']>): void {
    const held = this.flags[handle]! & (SessionFlag.KEYED | SessionFlag.SEALED);
    if (held === SessionFlag.KEYED) return;
    if (keys === SEALED) {
      this.flags[handle]! |= SessionFlag.KEYED | SessionFlag.SEALED;
      return;
    }
    if (isIkev1(keys) !== this.is(handle, SessionFlag.IKEV1)) throw new RangeError('keys of another IKE version');
    const { suite, material } = keys;
    this.#suite[handle] = suite;
    const slab = this.#slabOf(suite);
    const slot = slab.allocate();
    slab.block(slot).set(material, slab.offset(slot));
    this.#keySlot[handle] = slot;
    this.flags[handle] = (this.flags[handle]! & ~SessionFlag.SEALED) | SessionFlag.KEYED;
  }

  /** Changes the address of probes. True if it was another address before. */
  relocate(handle: number, address: Address, port: number): boolean {
    const moved = this.port[handle] !== port || !this.address.is(handle, address);
    this.address.set(handle, address);
    this.port[handle] = port;
    return moved;
  }

  /** Forgets an SA and wipes its keys. */
  remove(handle: number): void {
    const flags = this.flags[handle]!;
    if (!(flags & SessionFlag.USED)) return;
    const open = (flags & (SessionFlag.KEYED | SessionFlag.SEALED)) === SessionFlag.KEYED;
    if (open) this.#slabOf(this.#suite[handle]!).drop(this.#keySlot[handle]!);
    this.#index.remove(this.spis, handle);
    this.end(handle);
    this.address.drop(handle);
    this.flags[handle] = 0;
  }

  /** Wipes all keys: nobody may be asked any more. */
  wipe(): void {
    for (const slab of [...this.#slabs, ...this.#ikev1Slabs]) slab.wipe();
  }

  /** A request is outstanding from now on, with an IV of its own. */
  begin(handle: number, fillRandom: FillRandom): void {
    const slot = this.#ivs.allocate();
    const at = this.#ivs.offset(slot);
    fillRandom(this.#ivs.block(slot), at, at + IV_LENGTH);
    this.#ivSlot[handle] = slot;
    this.flags[handle]! |= SessionFlag.OUTSTANDING;
  }

  /** The exchange has ended: no request is outstanding any more. */
  end(handle: number): void {
    if (!(this.flags[handle]! & SessionFlag.OUTSTANDING)) return;
    this.#ivs.drop(this.#ivSlot[handle]!);
    this.flags[handle]! &= ~SessionFlag.OUTSTANDING;
  }

  /** Whether the id `nextMid` is in use: by a request of ours or of the headend's daemon. */
  busy(handle: number): boolean {
    return (this.flags[handle]! & (SessionFlag.OUTSTANDING | SessionFlag.TRANSLATED)) !== 0;
  }

  /** Notes whether the headend's daemon counts its own requests from far ahead. */
  setParked(handle: number, parked: boolean): void {
    if (parked) this.flags[handle]! |= SessionFlag.PARKED;
    else this.flags[handle]! &= ~SessionFlag.PARKED;
  }

  /** Copies the first `length` bytes of the outstanding request's IV. */
  copyIv(handle: number, to: Uint8Array, at: number, length: number): void {
    const slot = this.#ivSlot[handle]!;
    copy(this.#ivs.block(slot), this.#ivs.offset(slot), to, at, length);
  }

  /** Handle of an SA by its SPIs as words, or -1. */
  find(i0: number, i1: number, r0: number, r1: number): number {
    return this.#index.find(this.spis, i0, i1, r0, r1);
  }

  /** Handle of the SA that a datagram's header names, or -1. @param datagram a header long, at least */
  named(datagram: Buffer): number {
    return this.find(
      datagram.readUInt32BE(Offset.SPI_I),
      datagram.readUInt32BE(Offset.SPI_I + 4),
      datagram.readUInt32BE(Offset.SPI_R),
      datagram.readUInt32BE(Offset.SPI_R + 4),
    );
  }

  /** Whether all bits of a flag are set. */
  is(handle: number, flag: number): boolean {
    return handle < this.flags.length && (this.flags[handle]! & flag) === flag;
  }

  suite(handle: number): Suite {
    return SUITES[this.#suite[handle]!]!;
  }

  /** Of an SA of IKEv1. */
  ikev1Suite(handle: number): Ikev1Suite {
    return IKEV1_SUITES[this.#suite[handle]! - FIRST_IKEV1_SUITE]!;
  }

  /** SPIs of an SA. */
  spi(handle: number): SpiWords {
    return spiAt(this.spis, handle);
  }

  /** Keys as {@link setKeys} took them, copied, or undefined without any that are open. */
  exportKeys(handle: number): SessionKeys | undefined {
    if (!this.is(handle, SessionFlag.USED | SessionFlag.KEYED) || this.is(handle, SessionFlag.SEALED)) return undefined;
    const suite = this.#suite[handle]!;
    const slab = this.#slabOf(suite);
    const at = slab.offset(this.#keySlot[handle]!);
    return { suite, material: slab.block(this.#keySlot[handle]!).slice(at, at + slab.stride) };
  }

  /** Keys for what the headend sends; valid until the next call for keys. */
  sendKeys(handle: number): DirectionKeys {
    return this.#direction(handle, 0);
  }

  /** Keys for what the spoke sends; valid until the next call for keys. */
  receiveKeys(handle: number): DirectionKeys {
    return this.#direction(handle, 1);
  }

  /** Keys of an SA of IKEv1, for both directions; valid until the next call for keys. */
  ikev1Keys(handle: number): Ikev1Keys {
    const suite = this.#suite[handle]!;
    const { encryptionKey, skeyidA, phase1Block } = this.#ikev1Keys[suite - FIRST_IKEV1_SUITE]!;
    const slab = this.#slabOf(suite);
    const bytes = slab.block(this.#keySlot[handle]!);
    const at = slab.offset(this.#keySlot[handle]!);
    copy(bytes, at, encryptionKey, 0, encryptionKey.length);
    copy(bytes, at + encryptionKey.length, skeyidA, 0, skeyidA.length);
    copy(bytes, at + encryptionKey.length + skeyidA.length, phase1Block, 0, phase1Block.length);
    return this.#ikev1Keys[suite - FIRST_IKEV1_SUITE]!;
  }

  /** Where key material of a suite is kept. */
  #slabOf(suite: number): Slab {
    return suite < FIRST_IKEV1_SUITE ? this.#slabs[suite]! : this.#ikev1Slabs[suite - FIRST_IKEV1_SUITE]!;
  }

  #direction(handle: number, index: 0 | 1): DirectionKeys {
    const suite = this.#suite[handle]!;
    const keys = this.#keys[suite]!;
    const slab = this.#slabs[suite]!;
    const bytes = slab.block(this.#keySlot[handle]!);
    let at = slab.offset(this.#keySlot[handle]!) + (index * slab.stride) / 2;
    copy(bytes, at, keys.encryption, 0, keys.encryption.length);
    at += keys.encryption.length;
    copy(bytes, at, keys.salt, 0, keys.salt.length);
    copy(bytes, at + keys.salt.length, keys.integrity, 0, keys.integrity.length);
    return keys;
  }

  #grow(needed: number): void {
    const capacity = roomFor(needed, this.flags.length);
    this.flags = widen(new Uint16Array(capacity), this.flags);
    this.spis = spiPairs(capacity, this.spis);
    this.address.grow(capacity);
    this.port = widen(new Uint16Array(capacity), this.port);
    this.nextMid = widen(new Uint32Array(capacity), this.nextMid);
    this.uncertainty = widen(new Uint16Array(capacity), this.uncertainty);
    this.window = widen(new Uint16Array(capacity), this.window);
    this.#ivSlot = widen(new Uint32Array(capacity), this.#ivSlot);
    this.sent = widen(new Uint32Array(capacity), this.sent);
    this.answered = widen(new Uint32Array(capacity), this.answered);
    this.#suite = widen(new Uint8Array(capacity), this.#suite);
    this.#keySlot = widen(new Uint32Array(capacity), this.#keySlot);
  }
}

/**
 * Lays both directions' keys out in a row, the headend's sending direction first.
 * @throws RangeError naming the key whose length does not fit the suite
 */
export function keyMaterial(
  suite: Suite,
  headendIsInitiator: boolean,
  keys: { skEi: Uint8Array; skEr: Uint8Array; skAi: Uint8Array; skAr: Uint8Array },
): Uint8Array {
  const expect = (name: 'skEi' | 'skEr' | 'skAi' | 'skAr', length: number) => {
    if (keys[name].length !== length)
      throw new RangeError(`${name} is ${keys[name].length} bytes, must be ${length} for ${suite.cipher}`);
    return keys[name];
  };
  const ske = suite.keyLength + suite.saltLength;
  const initiator = [expect('skEi', ske), expect('skAi', suite.integrityKeyLength)];
  const responder = [expect('skEr', ske), expect('skAr', suite.integrityKeyLength)];
  return Buffer.concat(headendIsInitiator ? [...initiator, ...responder] : [...responder, ...initiator]);
}

/** The keys that {@link keyMaterial} laid out. */
export function splitKeyMaterial(suite: Suite, headendIsInitiator: boolean, material: Uint8Array) {
  const ske = suite.keyLength + suite.saltLength;
  const half = ske + suite.integrityKeyLength;
  const [initiator, responder] = headendIsInitiator ? [0, half] : [half, 0];
  return {
    skEi: material.subarray(initiator, initiator + ske),
    skAi: material.subarray(initiator + ske, initiator + half),
    skEr: material.subarray(responder, responder + ske),
    skAr: material.subarray(responder + ske, responder + half),
  };
}
