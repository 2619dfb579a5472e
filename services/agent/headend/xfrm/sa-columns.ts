/**
 * The kernel's ESP SAs in columns, read from the messages of a dump (linux/xfrm.h). A row is an SA; nothing is allocated for it.
 * Those whose destination is the hub's own address are inbound. Memory layouts are those of 64-bit little-endian Linux.
 */

import { Address, FAMILY_NUMBER } from '../../../../workers/base/address.ts';
import { roomFor, widen } from '../../../../workers/base/columns.ts';
import { Header, NLMSG_DONE, NLMSG_ERROR } from './netlink.ts';

/** XFRM_MSG_NEWSA: what an SA comes in. */
const NEW_SA = 16;
/** Where fields are in a message: nlmsghdr, then struct xfrm_usersa_info, then attributes. */
const Sa = {
  DESTINATION: 72,
  SPI: 88,
  PROTOCOL: 92,
  SOURCE: 96,
  BYTES: 176,
  PACKETS: 184,
  USED: 200,
  FAMILY: 228,
  ATTRIBUTES: 240,
} as const;
/** XFRMA_*. */
const Attribute = { ENCAPSULATION: 4, LAST_USED: 15, MARK: 21, INTERFACE: 31 } as const;
const V4_IN_V6 = 0xffff0000;
const WORD = 4;
/** Words of an address. */
const WORDS = 4;
const EMPTY = -1;

/** The result of reading a part of a dump. */
export const Dump = { MORE: 0, DONE: 1, FAILED: 2 } as const;
export type DumpState = (typeof Dump)[keyof typeof Dump];

export class SaColumns {
  /** Number of rows; values beyond them in a column are stale. */
  count = 0;
  /** SPI, as a number. */
  spi = new Uint32Array(0);
  /** IP protocol: 50 is ESP. */
  protocol = new Uint8Array(0);
  /** Ports of ESP in UDP; 0: plain ESP. */
  sourcePort = new Uint16Array(0);
  destinationPort = new Uint16Array(0);
  /** Mark, and XFRM interface; 0: none. */
  mark = new Uint32Array(0);
  interfaceId = new Uint32Array(0);
  /** Authenticated packets and their bytes, since the SA was made. */
  packets = new Float64Array(0);
  bytes = new Float64Array(0);
  /** When the first packet came, and the last one if the kernel reports it: Unix time, s; 0: unknown, or never. */
  firstUsed = new Float64Array(0);
  lastUsed = new Float64Array(0);
  /** As in the message; IPv4 mapped into IPv6. */
  #source = new Uint32Array(0);
  #destination = new Uint32Array(0);
  #room = 0;
  /** Rows by SPI and destination, open addressing; made when first asked for. */
  #slots = new Int32Array(0);
  #indexed = false;
  readonly #address = new Address();
  readonly #wanted = new Uint32Array(WORDS);

  clear(): void {
    this.count = 0;
    this.#indexed = false;
  }

  /** The source of the SA's packets. Valid until the next call for an address. */
  source(row: number): Address {
    return this.#read(this.#source, row);
  }

  /** Their destination. Valid until the next call for an address. */
  destination(row: number): Address {
    return this.#read(this.#destination, row);
  }

  /** The row of the SA that has this SPI at this destination, or -1. */
  find(spi: number, destination: Address): number {
    if (!this.#indexed) this.#index();
    const wanted = this.#wanted;
    for (let n = 0; n < WORDS; n++) wanted[n] = destination.bytes.readUInt32LE(WORD * n);
    const mask = this.#slots.length - 1;
    for (let slot = spread(spi) & mask; ; slot = (slot + 1) & mask) {
      const row = this.#slots[slot]!;
      if (row === EMPTY || (this.spi[row] === spi && sameAddress(this.#destination, WORDS * row, wanted))) return row;
    }
  }

  /**
   * Adds the SAs of a part of a dump.
   * @param words whole messages, from their start
   * @param length of them, bytes
   * @param sequence of the request: answers to another are skipped
   */
  add(words: Uint32Array, length: number, sequence: number): DumpState {
    const end = length / WORD;
    for (let at = 0; at + Header.LENGTH / WORD <= end; ) {
      const size = words[at]!;
      if (size < Header.LENGTH || at + size / WORD > end) return Dump.FAILED;
      const type = words[at + Header.TYPE / WORD]! & 0xffff;
      if (words[at + Header.SEQUENCE / WORD] === sequence) {
        if (type === NLMSG_DONE) return Dump.DONE;
        if (type === NLMSG_ERROR) return Dump.FAILED;
        if (type === NEW_SA && size >= Sa.ATTRIBUTES) this.#addSa(words, at, size);
      }
      at += (size + WORD - 1) >>> 2;
    }
    return Dump.MORE;
  }

  #addSa(words: Uint32Array, at: number, size: number): void {
    if (this.count === this.#room) this.#grow();
    const row = this.count++;
    this.spi[row] = swapped(words[at + Sa.SPI / WORD]!);
    this.protocol[row] = words[at + Sa.PROTOCOL / WORD]! & 0xff;
    this.packets[row] = long(words, at + Sa.PACKETS / WORD);
    this.bytes[row] = long(words, at + Sa.BYTES / WORD);
    this.firstUsed[row] = long(words, at + Sa.USED / WORD);
    const v6 = (words[at + Sa.FAMILY / WORD]! & 0xffff) === FAMILY_NUMBER[6];
    takeAddress(words, at + Sa.SOURCE / WORD, v6, this.#source, WORDS * row);
    takeAddress(words, at + Sa.DESTINATION / WORD, v6, this.#destination, WORDS * row);
    this.sourcePort[row] = 0;
    this.destinationPort[row] = 0;
    this.mark[row] = 0;
    this.interfaceId[row] = 0;
    this.lastUsed[row] = 0;
    const end = at + (size >>> 2);
    for (let place = at + Sa.ATTRIBUTES / WORD; place < end; ) {
      const header = words[place]!;
      const value = place + 1;
      switch (header >>> 16) {
        case Attribute.ENCAPSULATION:
          // struct xfrm_encap_tmpl: type and source port, destination port: the ports in network order.
          this.sourcePort[row] = swapped(words[value]!) & 0xffff;
          this.destinationPort[row] = swapped(words[value + 1]!) >>> 16;
          break;
        case Attribute.MARK:
          this.mark[row] = words[value]!;
          break;
        case Attribute.INTERFACE:
          this.interfaceId[row] = words[value]!;
          break;
        case Attribute.LAST_USED:
          this.lastUsed[row] = long(words, value);
          break;
      }
      place += Math.max(1, ((header & 0xffff) + WORD - 1) >>> 2);
    }
  }

  #grow(): void {
    const room = roomFor(this.count + 1, this.#room);
    this.spi = widen(new Uint32Array(room), this.spi);
    this.protocol = widen(new Uint8Array(room), this.protocol);
    this.sourcePort = widen(new Uint16Array(room), this.sourcePort);
    this.destinationPort = widen(new Uint16Array(room), this.destinationPort);
    this.mark = widen(new Uint32Array(room), this.mark);
    this.interfaceId = widen(new Uint32Array(room), this.interfaceId);
    this.packets = widen(new Float64Array(room), this.packets);
    this.bytes = widen(new Float64Array(room), this.bytes);
    this.firstUsed = widen(new Float64Array(room), this.firstUsed);
    this.lastUsed = widen(new Float64Array(room), this.lastUsed);
    this.#source = widen(new Uint32Array(WORDS * room), this.#source);
    this.#destination = widen(new Uint32Array(WORDS * room), this.#destination);
    this.#room = room;
  }

  #index(): void {
    let size = 1_024;
    while (size < 2 * this.count) size *= 2;
    if (this.#slots.length < size) this.#slots = new Int32Array(size);
    this.#slots.fill(EMPTY);
    const mask = this.#slots.length - 1;
    for (let row = 0; row < this.count; row++) {
      let slot = spread(this.spi[row]!) & mask;
      while (this.#slots[slot] !== EMPTY) slot = (slot + 1) & mask;
      this.#slots[slot] = row;
    }
    this.#indexed = true;
  }

  #read(column: Uint32Array, row: number): Address {
    const address = this.#address;
    const at = WORDS * row;
    const v4 = column[at] === 0 && column[at + 1] === 0 && column[at + 2] === V4_IN_V6;
    address.family = v4 ? 4 : 6;
    for (let n = 0; n < WORDS; n++) address.bytes.writeUInt32LE(column[at + n]!, WORD * n);
    return address;
  }
}

/** Takes an address as it is; one of IPv4 is the first word of its place. */
function takeAddress(words: Uint32Array, from: number, v6: boolean, column: Uint32Array, to: number): void {
  column[to] = v6 ? words[from]! : 0;
  column[to + 1] = v6 ? words[from + 1]! : 0;
  column[to + 2] = v6 ? words[from + 2]! : V4_IN_V6;
  column[to + 3] = v6 ? words[from + 3]! : words[from]!;
}

function sameAddress(column: Uint32Array, at: number, wanted: Uint32Array): boolean {
  return (
    column[at + 3] === wanted[3] &&
    column[at] === wanted[0] &&
    column[at + 1] === wanted[1] &&
    column[at + 2] === wanted[2]
  );
}

/** A 64-bit number as far as a double has it exactly. */
function long(words: Uint32Array, at: number): number {
  return words[at]! + words[at + 1]! * 2 ** 32;
}

/** From network order. */
function swapped(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

/** SPIs of charon have the same first bits; those of other programs may be consecutive. */
function spread(spi: number): number {
  const mixed = Math.imul(spi, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}
