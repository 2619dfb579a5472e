/** As much of DER (ITU-T X.690) as it takes to find a value inside certificates and revocation lists. */

/** A value: its tag, where it begins with that, and where its content lies. */
export type Der = { readonly tag: number; readonly start: number; readonly from: number; readonly to: number };

/** Tags that are looked for. */
export const Tag = { INTEGER: 0x02, SEQUENCE: 0x30, VERSION: 0xa0 } as const;

/** The value that begins here. Throws RangeError. */
export function readDer(bytes: Uint8Array, start = 0, end = bytes.length): Der {
  const fail = () => new RangeError(`no DER value at ${start}`);
  if (start + 2 > end) throw fail();
  const first = bytes[start + 1]!;
  const more = first < 0x80 ? 0 : first & 0x7f;
  // X.690 section 8.1.3.6: an indefinite length is none of DER's; four bytes tell any length of a file here.
  if (first === 0x80 || more > 4 || start + 2 + more > end) throw fail();
  let length = more === 0 ? first : 0;
  for (let n = 0; n < more; n++) length = length * 256 + bytes[start + 2 + n]!;
  const from = start + 2 + more;
  if (from + length > end) throw fail();
  return { tag: bytes[start]!, start, from, to: from + length };
}

/** The values inside a value. Throws RangeError. */
export function partsOf(bytes: Uint8Array, { from, to }: Der): Der[] {
  const parts: Der[] = [];
  for (let at = from; at < to; at = parts.at(-1)!.to) parts.push(readDer(bytes, at, to));
  return parts;
}
