/** Bytes and texts, spoiled. */

import type { Random } from '../simulation/random.ts';

const BYTES = [0, 1, 4, 16, 0x7f, 0x80, 0xff];
const WORDS = [0, 1, 0x7fff, 0x8000, 0xffff, 0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff];

/** The bytes, changed in one to four places. */
export function spoil(bytes: Uint8Array, random: Random): Buffer {
  let spoiled = Buffer.from(bytes);
  for (let edits = random.integer(1, 4); edits > 0; edits--) spoiled = Buffer.from(edit(spoiled, random));
  return spoiled;
}

function edit(bytes: Buffer, random: Random): Buffer {
  const at = random.integer(0, Math.max(0, bytes.length - 1));
  const to = random.integer(at, bytes.length);
  switch (random.integer(0, 7)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
    case 3: {
      const more = Buffer.alloc(random.integer(1, 8));
      random.fill(more);
      return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
    }
    case 4:
      if (at + 4 <= bytes.length) bytes.writeUInt32BE(random.pick(WORDS), at);
      return bytes;
    case 5:
      if (at + 2 <= bytes.length) bytes.writeUInt16BE(random.pick(WORDS) & 0xffff, at);
      return bytes;
    case 6:
      if (bytes.length > 0) bytes[at] = random.pick(BYTES);
      return bytes;
    default:
      if (bytes.length > 0) bytes[at]! ^= 1 << random.integer(0, 7);
      return bytes;
  }
}

const VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e15,
  1e300,
  2 ** 31,
  2 ** 53,
  '',
  'toString',
  '__proto__',
  '0',
  'x'.repeat(5_000),
  [],
  {},
  [[]],
  { length: 1e9 },
];

/** A value of JSON, with some members and items exchanged for others, taken away or added. */
export function spoilJson(value: unknown, random: Random, depth = 0): unknown {
  if (depth > 0 && random.chance(0.15)) return random.pick(VALUES);
  if (Array.isArray(value)) {
    const items = value.map((item) => spoilJson(item, random, depth + 1));
    if (random.chance(0.1)) items.push(random.pick(VALUES));
    return items;
  }
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).flatMap(([name, member]) =>
    random.chance(0.05) ? [] : [[name, spoilJson(member, random, depth + 1)] as const],
  );
  if (random.chance(0.1)) members.push([random.pick(['toString', 'constructor', 'length', 'x']), random.pick(VALUES)]);
  return Object.fromEntries(members);
}
