/** IP addresses: 16 bytes and a family. An IPv4 address is mapped into them (RFC 4291 section 2.5.5.2). */

import { isIPv4, isIPv6 } from 'node:net';

export type Family = 4 | 6;
/** The system's numbers of them: AF_INET and AF_INET6 of Linux. */
export const FAMILY_NUMBER: Readonly<Record<Family, number>> = { 4: 2, 6: 10 };

const DOT = 46;
const ZERO = 48;
/** Where an IPv4 address is in the 16 bytes; before it, ten zero bytes and two of ones. */
const V4_AT = 12;

export class Address {
  family: Family = 4;
  /** As on the wire. */
  readonly bytes = Buffer.alloc(16);

  /** The address of a text. Throws RangeError if it is none. */
  static of(text: string): Address {
    const address = new Address();
    if (isIPv4(text)) address.read(Buffer.from(text, 'latin1'));
    else if (isIPv6(text)) address.#readV6(text);
    else throw new RangeError(`"${text.slice(0, 80)}" is not an IP address`);
    return address;
  }

  /** Takes over an address from its text in ASCII, which must be one; an IPv4 address leaves no garbage. */
  read(text: Uint8Array, from = 0, to = text.length): void {
    let number = 0;
    let octet = 0;
    for (let at = from; at < to; at++) {
      const code = text[at]!;
      if (code === DOT) {
        number = number * 256 + octet;
        octet = 0;
      } else if (code < ZERO || code > ZERO + 9) {
        this.#readV6(Buffer.from(text.buffer, text.byteOffset + from, to - from).toString('latin1'));
        return;
      } else octet = octet * 10 + code - ZERO;
    }
    this.v4 = number * 256 + octet;
  }

  /** The IPv4 address as a number. */
  get v4(): number {
    return this.bytes.readUInt32BE(V4_AT);
  }

  set v4(number: number) {
    this.family = 4;
    this.bytes.fill(0, 0, V4_AT - 2);
    this.bytes.fill(0xff, V4_AT - 2, V4_AT);
    this.bytes.writeUInt32BE(number, V4_AT);
  }

  /** The text of it; IPv6 as RFC 5952 wants it. */
  toString(): string {
    if (this.family === 4) return this.bytes.subarray(V4_AT).join('.');
    const groups = Array.from({ length: 8 }, (_, n) => this.bytes.readUInt16BE(2 * n).toString(16));
    // The longest run of zeros, the first of several, becomes "::".
    const [from, to] = longestZeros(groups);
    if (to - from < 2) return groups.join(':');
    return `${groups.slice(0, from).join(':')}::${groups.slice(to).join(':')}`;
  }

  #readV6(text: string): void {
    this.family = 6;
    this.bytes.fill(0);
    const [head = '', tail] = text.replace(/%.*$/, '').split('::');
    const front = groupsOf(head);
    front.forEach((group, n) => this.bytes.writeUInt16BE(group, 2 * n));
    const back = tail === undefined ? [] : groupsOf(tail);
    back.forEach((group, n) => this.bytes.writeUInt16BE(group, 16 - 2 * (back.length - n)));
  }
}

/** 0.0.0.0, for sockets that send nothing. */
export const NOWHERE = new Address();

/** 16-bit groups of a part of an IPv6 address, which may end as an IPv4 address does. */
function groupsOf(part: string): number[] {
  return part
    .split(':')
    .filter((group) => group !== '')
    .flatMap((group) => {
      if (!group.includes('.')) return Number.parseInt(group, 16);
      const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
      return [a * 256 + b, c * 256 + d];
    });
}

/** Where the longest run of zero groups begins and ends. */
function longestZeros(groups: readonly string[]): [from: number, to: number] {
  let longest: [number, number] = [0, 0];
  for (let from = 0; from < groups.length; from++) {
    let to = from;
    while (groups[to] === '0') to++;
    if (to - from > longest[1] - longest[0]) longest = [from, to];
  }
  return longest;
}
