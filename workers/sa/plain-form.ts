/**
 * Whether a message is encoded plainly: each field that is known in its own wire type, once unless it is repeated, and every part as long
 * as what is in it, texts in UTF-8. All readers understand such bytes in the same way. protobuf allows more, and decoders accept more: for
 * example a wrong length of a packed field, or a varint in place of bytes.
 */

import { isUtf8 } from 'node:buffer';
import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import type { MessageReader } from './message-reader.ts';

/** How a field must be encoded in its message. */
type Place = {
  readonly tag: number;
  /** A bit of its own if it may come once only, else 0. */
  readonly once: number;
  /** Of a field that is a message. */
  readonly parts: Plan | undefined;
  /** A further check of its value. */
  readonly value: 'any' | 'text' | 'packed';
};
/** Places by field number. */
export type Plan = readonly (Place | undefined)[];

const WIRE_TYPES: Partial<Record<ScalarType, WireType>> = {
  [ScalarType.STRING]: WireType.LengthDelimited,
  [ScalarType.BYTES]: WireType.LengthDelimited,
  [ScalarType.FIXED64]: WireType.Bit64,
  [ScalarType.FIXED32]: WireType.Bit32,
  [ScalarType.UINT32]: WireType.Varint,
  [ScalarType.UINT64]: WireType.Varint,
  [ScalarType.BOOL]: WireType.Varint,
};

/**
 * The plan of a message with field numbers below 32, because they are bits. Throws RangeError if a kind of field is not supported.
 */
export function planOf(message: DescMessage): Plan {
  const places: Place[] = [];
  for (const field of message.fields) places[field.number] = placeOf(field);
  return places;
}

function placeOf(field: DescField): Place {
  const tag = (type: WireType) => (field.number << 3) | type;
  const once = 1 << field.number;
  if (field.fieldKind === 'enum') return { tag: tag(WireType.Varint), once, parts: undefined, value: 'any' };
  const isList = field.fieldKind === 'list';
  if (field.fieldKind === 'message' || (isList && field.listKind === 'message'))
    return { tag: tag(WireType.LengthDelimited), once: isList ? 0 : once, parts: planOf(field.message), value: 'any' };
  if (isList && field.scalar === ScalarType.FIXED32)
    return { tag: tag(WireType.LengthDelimited), once, parts: undefined, value: 'packed' };
  const type = field.fieldKind === 'scalar' ? WIRE_TYPES[field.scalar] : undefined;
  if (type === undefined) throw new RangeError(`${field} has no plain form here`);
  const isTextual = field.scalar === ScalarType.STRING;
  return { tag: tag(type), once, parts: undefined, value: isTextual ? 'text' : 'any' };
}

/** Whether the message from where the reader stands up to `end` is plain. May throw RangeError or Error where it is not. */
export function isPlain(reader: MessageReader, plan: Plan, end: number): boolean {
  let seen = 0;
  while (reader.pos < end) {
    const tag = reader.uint32();
    const place = plan[tag >>> 3];
    if (!place) {
      // A field of a later release. Groups are obsolete.
      if ((tag & 7) > WireType.LengthDelimited && (tag & 7) !== WireType.Bit32) return false;
      reader.skipField(tag);
      continue;
    }
    if (tag !== place.tag || (seen & place.once) !== 0) return false;
    seen |= place.once;
    if (!isPlainValue(reader, place)) return false;
  }
  return reader.pos === end;
}

/** Whether the value of a field whose tag was just read is plain; passes over it. */
function isPlainValue(reader: MessageReader, { tag, parts, value }: Place): boolean {
  if (!parts && value === 'any') {
    reader.skipField(tag);
    return true;
  }
  const end = reader.partEnd();
  if (parts) return isPlain(reader, parts, end);
  const from = reader.pos;
  reader.pos = end;
  if (value === 'packed') return (end - from) % Uint32Array.BYTES_PER_ELEMENT === 0;
  return isUtf8(reader.source.subarray(from, end));
}
