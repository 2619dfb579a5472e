/**
 * The bytes of each SA in an upsert, its keys apart from the rest, as they are stored and handed to the shard's thread. Nothing is
 * encoded anew, and fields that this release does not know are kept, where the headend encoded plainly. Any other request is
 * encoded again from its decoded form, so that the thread reads exactly what was checked.
 */

import { toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { ConnectShardRequestSchema, type UpsertSas, UpsertSasSchema } from '../../../../proto/gen/dpd/v1/headend_pb.js';
import { type Sa, SaKeysSchema, SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { MessageReader } from '../../../../workers/sa/message-reader.ts';
import { isPlain, planOf } from '../../../../workers/sa/plain-form.ts';
import type { SaBytes } from '../../../../workers/sa/sa-page.ts';

const UPSERT = lengthDelimited(ConnectShardRequestSchema.field.upsert.number);
const SAS = lengthDelimited(UpsertSasSchema.field.sas.number);
const KEYS = lengthDelimited(SaSchema.field.keys.number);
const PLAN = planOf(UpsertSasSchema);
/** Unknown fields are not written again. */
const KNOWN = { writeUnknownFields: false } as const;

/**
 * Bytes of the SAs that a ConnectShardRequest decoded to, in order.
 * @param changed the SAs are not as they were decoded any more
 */
export function upsertBytes(request: Uint8Array, sas: UpsertSas['sas'], changed = false): SaBytes[] {
  return !changed && isPlainUpsert(request) ? cut(request) : sas.map(encode);
}

/** Whether the request is one plain upsert, and nothing else. */
function isPlainUpsert(request: Uint8Array): boolean {
  const reader = new MessageReader(request);
  try {
    return reader.uint32() === UPSERT && reader.partEnd() === reader.len && isPlain(reader, PLAN, reader.len);
  } catch {
    return false;
  }
}

function encode(sa: Sa): SaBytes {
  const { keys, ...rest } = sa;
  return { sa: toBinary(SaSchema, rest, KNOWN), keys: keys && toBinary(SaKeysSchema, keys, KNOWN) };
}

/** Every SA of a plain upsert, as views. */
function cut(request: Uint8Array): SaBytes[] {
  const reader = new MessageReader(request);
  reader.uint32();
  reader.partEnd();
  const sas: SaBytes[] = [];
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === SAS) sas.push(split(reader.bytes()));
    else reader.skipField(tag);
  }
  return sas;
}

function split(message: Uint8Array): SaBytes {
  const reader = new MessageReader(message);
  while (reader.pos < reader.len) {
    const at = reader.pos;
    const tag = reader.uint32();
    if (tag !== KEYS) {
      reader.skipField(tag);
      continue;
    }
    const keys = reader.bytes();
    return { sa: Buffer.concat([message.subarray(0, at), message.subarray(reader.pos)]), keys };
  }
  return { sa: message, keys: undefined };
}

/** Tag of a field with a length. */
function lengthDelimited(field: number): number {
  return (field << 3) | WireType.LengthDelimited;
}
