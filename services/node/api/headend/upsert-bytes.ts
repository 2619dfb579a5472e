/**
 * The bytes of each SA in an upsert as the headend encoded them, its keys apart from the rest: stored so, nothing is
 * encoded anew, and fields that this release does not know are kept.
 */

import { WireType } from '@bufbuild/protobuf/wire';
import { ConnectShardRequestSchema, UpsertSasSchema } from '../../../../proto/gen/dpd/v1/headend_pb.js';
import { SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { MessageReader } from '../../../../workers/sa/message-reader.ts';
import type { SaBytes } from '../../../../workers/sa/sa-page.ts';

const UPSERT = ConnectShardRequestSchema.field.upsert.number;
const SAS = UpsertSasSchema.field.sas.number;
const KEYS = SaSchema.field.keys.number;

/** Bytes of every SA in a ConnectShardRequest that decoded to an upsert, in order. */
export function upsertBytes(request: Uint8Array): SaBytes[] {
  return fields(request, UPSERT).flatMap((upsert) => fields(upsert, SAS).map(split));
}

/** Every value of a length-delimited field, as views. */
function fields(message: Uint8Array, number: number): Uint8Array[] {
  const reader = new MessageReader(message);
  const values: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === lengthDelimited(number)) values.push(reader.bytes());
    else reader.skipField(tag);
  }
  return values;
}

function split(message: Uint8Array): SaBytes {
  const reader = new MessageReader(message);
  // Where keys were found, and the stretches between them.
  const rest: Uint8Array[] = [];
  const keys: Uint8Array[] = [];
  let from = 0;
  while (reader.pos < reader.len) {
    const at = reader.pos;
    const tag = reader.uint32();
    if (tag !== lengthDelimited(KEYS)) reader.skipField(tag);
    else {
      keys.push(reader.bytes());
      rest.push(message.subarray(from, at));
      from = reader.pos;
    }
  }
  if (keys.length === 0) return { sa: message, keys: undefined };
  rest.push(message.subarray(from));
  // A message given in pieces is their sum (protobuf's encoding, "last one wins").
  return { sa: Buffer.concat(rest), keys: keys.length === 1 ? keys[0]! : Buffer.concat(keys) };
}

/** Tag of a field with a length. */
function lengthDelimited(field: number): number {
  return (field << 3) | WireType.LengthDelimited;
}
