/**
 * A verdict as it is sent: a Verdicts message of one. Such messages one after the other form one message of all. In Redis each has its
 * MAC before it, bound to its shard, so that nobody who can only write to Redis has a peer torn down.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { VerdictsSchema } from '../../../proto/gen/dpd/v1/headend_pb.js';
import type { Verdict } from '../../../proto/gen/dpd/v1/types_pb.js';
import { MessageReader } from '../../../workers/sa/message-reader.ts';
import type { ShardId } from '../keys.ts';
import { MAC_LENGTH, type RecordMac, RecordSeal } from '../record-mac.ts';

const VERDICTS = (VerdictsSchema.field.verdicts.number << 3) | WireType.LengthDelimited;

/** The verdict in a message of one. */
export function readVerdict(message: Uint8Array): Verdict {
  const [verdict] = fromBinary(VerdictsSchema, message).verdicts;
  if (!verdict) throw new RangeError('no verdict in its message');
  return verdict;
}

export function writeVerdict(verdict: Verdict): Buffer {
  return Buffer.from(toBinary(VerdictsSchema, create(VerdictsSchema, { verdicts: [verdict] })));
}

/** A part of some bytes. */
type Part = { readonly from: number; readonly to: number };

/** Seals the verdicts of one shard for Redis, messages of one, and opens them. */
export class VerdictSeal extends RecordSeal {
  constructor(mac: RecordMac, { headend, shard }: ShardId) {
    super(mac, `verdict ${headend}/${shard}`);
  }

  /** Several of them, one behind the other, each with its MAC. @param parts messages of one */
  sealAll(parts: readonly Part[], bytes: Uint8Array): Buffer {
    const length = parts.reduce((sum, { from, to }) => sum + MAC_LENGTH + to - from, 0);
    const sealed = Buffer.allocUnsafe(length);
    let at = 0;
    for (const { from, to } of parts) {
      this.mac.write(this.place, bytes, from, to, sealed, at);
      at += MAC_LENGTH;
      sealed.set(bytes.subarray(from, to), at);
      at += to - from;
    }
    return sealed;
  }

  /** One message of all verdicts in an entry of the log that a node wrote, and how many parts of it none did. */
  openAll(entry: Buffer): { readonly messages: Buffer; readonly refused: number } {
    const good: Buffer[] = [];
    let refused = 0;
    const reader = new MessageReader(entry);
    try {
      while (reader.pos < reader.len) {
        const from = reader.pos + MAC_LENGTH;
        reader.pos = from;
        if (reader.uint32() !== VERDICTS) throw new RangeError('no verdict');
        reader.pos = reader.partEnd();
        if (this.mac.check(this.place, entry, from, reader.pos, entry, from - MAC_LENGTH))
          good.push(entry.subarray(from, reader.pos));
        else refused++;
      }
    } catch {
      refused++;
    }
    const [first] = good;
    return { messages: good.length === 1 ? first! : Buffer.concat(good), refused };
  }
}
