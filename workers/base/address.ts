/** IPv4 addresses as numbers. */

const DOT = 46;
const ZERO = 48;

/** An address in dotted form in ASCII, which must be one, as a number. */
export function addressNumber(dotted: Uint8Array, from = 0, to = dotted.length): number {
  let number = 0;
  let octet = 0;
  for (let at = from; at < to; at++) {
    const code = dotted[at]!;
    if (code === DOT) {
      number = number * 256 + octet;
      octet = 0;
    } else octet = octet * 10 + code - ZERO;
  }
  return number * 256 + octet;
}

/** The same of a string. */
export function addressOf(dotted: string): number {
  return addressNumber(Buffer.from(dotted, 'latin1'));
}
