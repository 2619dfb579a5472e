/** IPv4 addresses as numbers. */

const DOT = 46;
const ZERO = 48;

/** An address in dotted form, which must be one, as a number. */
export function addressNumber(dotted: string): number {
  let number = 0;
  let octet = 0;
  for (let n = 0; n < dotted.length; n++) {
    const code = dotted.charCodeAt(n);
    if (code === DOT) {
      number = number * 256 + octet;
      octet = 0;
    } else octet = octet * 10 + code - ZERO;
  }
  return number * 256 + octet;
}
