/** Whom an address reaches. Only single hosts are probed: nothing is sent to an address that stands for many hosts, or for none. */

import type { Address } from './address.ts';

/** `host`: one host; `loopback`: this one, whoever it is; `nobody`: many, or none. */
export type Reach = 'host' | 'loopback' | 'nobody';

/** First octets from here on are of multicast, and of addresses that were never given out, broadcast among them (RFC 5771, RFC 1112). */
const MULTICAST = 224;
const LOOPBACK = 127;
const V6_MULTICAST = 0xff;
/** Where the 16 bytes say that they hold an IPv4 address, and where that is (RFC 4291 section 2.5.5.2). */
const MAPPED_AT = 10;
const V4_AT = 12;

/** Whom an address reaches (RFC 6890). */
export function reachOf({ bytes }: Address): Reach {
  const zeros = leadingZeros(bytes);
  const first = bytes[V4_AT]!;
  if (zeros === MAPPED_AT && bytes[MAPPED_AT] === 0xff && bytes[MAPPED_AT + 1] === 0xff) {
    if (first === LOOPBACK) return 'loopback';
    return first === 0 || first >= MULTICAST ? 'nobody' : 'host';
  }
  if (zeros === bytes.length) return 'nobody';
  if (zeros === bytes.length - 1 && bytes.at(-1) === 1) return 'loopback';
  return bytes[0] === V6_MULTICAST ? 'nobody' : 'host';
}

function leadingZeros(bytes: Uint8Array): number {
  let n = 0;
  while (n < bytes.length && bytes[n] === 0) n++;
  return n;
}
