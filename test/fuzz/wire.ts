/** Protobuf messages encoded in every way that a decoder may meet: taken apart by their schema, changed, and put together again. */

import type { DescMessage } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import type { Random } from '../simulation/random.ts';
import { spoil } from './bytes.ts';

/** A field on the wire: `parts` if it is a message, otherwise `value`, which is what follows the tag, without a length. */
type Field = {
  number: number;
  type: WireType;
  value: Buffer;
  parts: Field[] | undefined;
  /** Extra bytes in tag and length, beyond those needed. */
  overlong: number;
  /** Added to the encoded length. */
  lie: number;
};

const NUMBERS = [0, 1, 2 ** 29, 2 ** 30, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

/** The message in an unusual encoding: changed in some places, but mostly still decodable. */
export function mutateMessage(bytes: Uint8Array, schema: DescMessage, random: Random): Buffer {
  const root = takeApart(Buffer.from(bytes), schema);
  for (let edits = random.integer(1, 4); edits > 0; edits--) edit(root, random);
  const mutated = putTogether(root);
  return random.chance(0.1) ? spoil(mutated, random) : mutated;
}

function takeApart(bytes: Buffer, schema: DescMessage): Field[] {
  const reader = new BinaryReader(bytes);
  const fields: Field[] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    const delimited = type === WireType.LengthDelimited;
    const value = Buffer.from(delimited ? reader.bytes() : reader.skip(type, number));
    const message = schema.fields.find((field) => field.number === number)?.message;
    const parts = message && takeApart(value, message);
    fields.push({ number, type, value, parts, overlong: 0, lie: 0 });
  }
  return fields;
}

function edit(root: Field[], random: Random): void {
  let fields = root;
  for (;;) {
    const inner = fields.filter(({ parts }) => parts && parts.length > 0);
    if (inner.length === 0 || random.chance(0.2)) break;
    fields = random.pick(inner).parts!;
  }
  const n = random.integer(0, Math.max(0, fields.length - 1));
  const field = fields[n];
  if (!field) {
    fields.push(unknown(random));
    return;
  }
  const copy = structuredClone(field);
  random.pick([
    () => fields.splice(n, 1),
    () => fields.splice(random.integer(0, fields.length), 0, { ...copy, value: Buffer.from(copy.value) }),
    () => fields.splice(random.integer(0, fields.length), 0, unknown(random)),
    () => fields.reverse(),
    () => change(field, random),
    () => change(field, random),
    () => {
      field.type = random.pick([0, 1, 2, 3, 5]) as WireType;
      field.parts = undefined;
      if (field.type === WireType.Varint) field.value = varint(random.pick(NUMBERS), random.integer(0, 6));
    },
    () => {
      field.lie = random.integer(-3, 3);
    },
    () => {
      field.overlong = random.integer(0, 6);
    },
    () => {
      field.number = random.integer(1, 20);
    },
    () => {
      // Packed as if it were not, one item a field.
      for (let at = 4; at + 4 <= field.value.length; at += 4)
        fields.push({
          ...unknown(random),
          number: field.number,
          type: WireType.Bit32,
          value: field.value.subarray(at, at + 4),
        });
    },
  ])();
}

function change(field: Field, random: Random): void {
  if (field.parts)
    field.parts.push(...structuredClone(field.parts).map((part) => ({ ...part, value: Buffer.from(part.value) })));
  else if (field.type === WireType.Varint) field.value = varint(random.pick(NUMBERS), random.integer(0, 6));
  else field.value = spoil(field.value, random);
}

/** A field of a later release; a group, now and then. */
function unknown(random: Random): Field {
  const type = random.pick([
    WireType.Varint,
    WireType.Bit64,
    WireType.LengthDelimited,
    WireType.Bit32,
    WireType.StartGroup,
  ]);
  const number = random.pick([17, 99, 536_870_911]);
  const lengths = { [WireType.Bit64]: 8, [WireType.Bit32]: 4, [WireType.LengthDelimited]: 5 };
  const value =
    type === WireType.Varint
      ? varint(random.pick(NUMBERS), random.integer(0, 9))
      : type === WireType.StartGroup
        ? Buffer.concat([varint(8), varint(1), varint(number * 8 + WireType.EndGroup)])
        : Buffer.alloc(lengths[type as keyof typeof lengths], random.uint32());
  return { number, type, value, parts: undefined, overlong: 0, lie: 0 };
}

function putTogether(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.map(({ number, type, value, parts, overlong, lie }) => {
      const content = parts ? putTogether(parts) : value;
      const length = type === WireType.LengthDelimited ? varint(Math.max(0, content.length + lie), overlong) : NOTHING;
      return Buffer.concat([varint(number * 8 + type, Math.min(overlong, 2)), length, content]);
    }),
  );
}
const NOTHING = Buffer.alloc(0);

/** @param more bytes than it takes */
function varint(value: number, more = 0): Buffer {
  const bytes: number[] = [];
  for (let rest = value; bytes.length === 0 || rest > 0; rest = Math.floor(rest / 128)) bytes.push(rest % 128);
  for (let n = 0; n < more; n++) bytes.push(0);
  return Buffer.from(bytes.map((byte, n) => (n < bytes.length - 1 ? byte | 0x80 : byte)));
}
