/**
 * Whether a message is encoded plainly: each field that is known in its own wire type, once unless it is repeated, and every part as
 * long as what is in it. On such bytes all readers agree. protobuf allows more, and decoders read more: a length that is none of a
 * packed field's, a varint where bytes are due.
 */

import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import type { MessageReader } from '../../../../workers/sa/message-reader.ts';

/** How a field is to stand in its message. */
type Place = {
  readonly tag: number;
  /** A bit of its own if it may come once only, else 0. */
  readonly once: number;
  /** Of a field that is a message. */
  readonly parts: Plan | undefined;
  /** Bytes of an item of a packed field, 0 of any other. */
  readonly packed: number;
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

/** The plan of a message whose numbers are below 32, as bits are. Throws RangeError of a kind of field that has no place in it. */
export function planOf(message: DescMessage): Plan {
  const places: Place[] = [];
  for (const field of message.fields) places[field.number] = placeOf(field);
  return places;
}

function placeOf(field: DescField): Place {
  const tag = (type: WireType) => (field.number << 3) | type;
  const once = 1 << field.number;
  if (field.fieldKind === 'enum') return { tag: tag(WireType.Varint), once, parts: undefined, packed: 0 };
  if (field.fieldKind === 'message' || (field.fieldKind === 'list' && field.listKind === 'message'))
    return {
      tag: tag(WireType.LengthDelimited),
      once: field.fieldKind === 'list' ? 0 : once,
      parts: planOf(field.message),
      packed: 0,
    };
  if (field.fieldKind === 'list' && field.scalar === ScalarType.FIXED32)
    return { tag: tag(WireType.LengthDelimited), once, parts: undefined, packed: Uint32Array.BYTES_PER_ELEMENT };
  const type = field.fieldKind === 'scalar' ? WIRE_TYPES[field.scalar] : undefined;
  if (type === undefined) throw new RangeError(`${field} has no plain form here`);
  return { tag: tag(type), once, parts: undefined, packed: 0 };
}

/** Whether the message from where the reader stands up to `end` is plain. May throw RangeError or Error where it is not. */
export function isPlain(reader: MessageReader, plan: Plan, end: number): boolean {
  let seen = 0;
  while (reader.pos < end) {
    const tag = reader.uint32();
    const place = plan[tag >>> 3];
    if (!place) {
      // Of a later release. Groups are of former times.
      if ((tag & 7) > WireType.LengthDelimited && (tag & 7) !== WireType.Bit32) return false;
      reader.skipField(tag);
      continue;
    }
    if (tag !== place.tag || (seen & place.once) !== 0) return false;
    seen |= place.once;
    if (!place.parts && place.packed === 0) {
      reader.skipField(tag);
      continue;
    }
    const partEnd = reader.partEnd();
    if (place.parts) {
      if (!isPlain(reader, place.parts, partEnd)) return false;
    } else if ((partEnd - reader.pos) % place.packed !== 0) return false;
    else reader.pos = partEnd;
  }
  return reader.pos === end;
}
