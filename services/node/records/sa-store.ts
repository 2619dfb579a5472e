/**
 * SAs' messages without keys, in little memory: SPI pairs are left out, because every handle has them in columns anyway,
 * and a policy, which thousands of SAs share, is kept once. A message read back means the same, but its fields may be in
 * another order.
 */

import { toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { type Policy, PolicySchema, SaIdSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { always } from '../../../workers/base/always.ts';
import { copy } from '../../../workers/base/bytes.ts';
import { fieldNumbers, type MessageReader } from '../../../workers/sa/message-reader.ts';
import type { SpiWords } from '../../api/spi.ts';
import { LIMITS } from '../../api/validation.ts';
import { ByteStore, LONGEST } from './byte-store.ts';

const SA = fieldNumbers(SaSchema);
const ID = fieldNumbers(SaIdSchema);
const tag = (field: number, type: WireType) => (field << 3) | type;
const ID_TAG = tag(SA.id, WireType.LengthDelimited);
const POLICY_TAG = tag(SA.policy, WireType.LengthDelimited);

/** The id as a field, SPIs to be filled in: tag, length, and each SPI as tag and 64 bits, the low ones first. */
const ID_FIELD = Buffer.alloc(20);
ID_FIELD.set([ID_TAG, 18, tag(ID.initiatorSpi, WireType.Bit64)]);
ID_FIELD[11] = tag(ID.responderSpi, WireType.Bit64);
/** Where it says what it is. */
const ID_MARKS = [0, 1, 2, 11] as const;

/** Before each message: whether its id was cut out, and the number of the policy that was cut out, from 1; 0: none. */
const HEAD = { BYTES: 2, ID: 0x8000, POLICY: 0x7fff } as const;
const NONE = Buffer.alloc(0);
/** Longest message that is kept, bytes. */
export const LONGEST_SA = LONGEST - HEAD.BYTES;
/** Policies of one shard, for as long as its thread lives, at most; the thread has room for more. */
export const MOST_POLICIES = HEAD.POLICY;
always(LONGEST_SA === LIMITS.saBytes, 'the API takes what the store can keep');

export class SaStore {
  readonly #bytes = new ByteStore();
  /** Policies as fields, and their numbers. */
  readonly #policies: Buffer[] = [NONE];
  readonly #numbers = new Map<string, number>();
  #lastPolicy = 0;
  readonly #scratch = Buffer.alloc(LONGEST);

  /**
   * Keeps a copy of the message at which the reader stands, and which ends at `end`. Returns its number, which is never 0.
   * Throws RangeError past {@link LONGEST_SA}.
   */
  put(reader: MessageReader, end = reader.len): number {
    const { source: message } = reader;
    const size = end - reader.pos;
    if (size > LONGEST_SA) throw new RangeError(`${size} bytes, at most ${LONGEST_SA}`);
    const scratch = this.#scratch;
    let head = 0;
    let length: number = HEAD.BYTES;
    let kept = reader.pos;
    while (reader.pos < end) {
      const at = reader.pos;
      const read = reader.uint32();
      reader.skipField(read);
      // A field that comes twice is rare, and is not cut out.
      let cut = 0;
      if (read === ID_TAG && (head & HEAD.ID) === 0) cut = isPlainId(message, at, reader.pos) ? HEAD.ID : 0;
      else if (read === POLICY_TAG && (head & HEAD.POLICY) === 0) cut = this.#policy(message, at, reader.pos);
      if (cut === 0) continue;
      copy(message, kept, scratch, length, at - kept);
      length += at - kept;
      kept = reader.pos;
      head |= cut;
    }
    copy(message, kept, scratch, length, end - kept);
    length += end - kept;
    scratch.writeUInt16BE(head);
    return this.#bytes.put(scratch, length);
  }

  /** The message at a number, whose SPIs are these: a copy. */
  get(number: number, spi: SpiWords): Buffer {
    return Buffer.from(this.#scratch.subarray(0, this.read(number, spi, this.#scratch)));
  }

  /** Writes the message at a number, whose SPIs are these. Returns its length, at most {@link LONGEST_SA}. */
  read(number: number, spi: SpiWords, message: Buffer): number {
    const stored = this.#bytes.get(number);
    const head = (stored[0]! << 8) | stored[1]!;
    let length = 0;
    if (head & HEAD.ID) {
      copy(ID_FIELD, 0, message, 0, ID_FIELD.length);
      message.writeUInt32LE(spi[1], 3);
      message.writeUInt32LE(spi[0], 7);
      message.writeUInt32LE(spi[3], 12);
      message.writeUInt32LE(spi[2], 16);
      length = ID_FIELD.length;
    }
    const policy = this.#policies[head & HEAD.POLICY]!;
    copy(policy, 0, message, length, policy.length);
    length += policy.length;
    copy(stored, HEAD.BYTES, message, length, stored.length - HEAD.BYTES);
    return length + stored.length - HEAD.BYTES;
  }

  /** Whether there are numbers for all of these policies; usually other SAs have them already. */
  takesPolicies(policies: readonly Policy[]): boolean {
    const room = MOST_POLICIES + 1 - this.#policies.length;
    if (policies.length <= room) return true;
    const fresh = new Set(policies.map(keyOf));
    for (const key of fresh) if (this.#numbers.has(key)) fresh.delete(key);
    return fresh.size <= room;
  }

  /** Whether the message at a number contains these bytes, its id and policy left aside. */
  contains(number: number, bytes: Buffer): boolean {
    const stored = this.#bytes.get(number);
    return Buffer.from(stored.buffer, stored.byteOffset, stored.length).includes(bytes, HEAD.BYTES);
  }

  drop(number: number): void {
    this.#bytes.drop(number);
  }

  /** Number of a policy, as a field; 0 if there are too many. */
  #policy(message: Uint8Array, from: number, to: number): number {
    // Usually it is the policy of the SA before.
    if (equals(this.#policies[this.#lastPolicy]!, message, from, to)) return this.#lastPolicy;
    const field = Buffer.from(message.subarray(from, to));
    const key = field.toString('latin1');
    let number = this.#numbers.get(key);
    if (number === undefined) {
      if (this.#policies.length > HEAD.POLICY) return 0;
      number = this.#policies.push(field) - 1;
      this.#numbers.set(key, number);
    }
    this.#lastPolicy = number;
    return number;
  }
}

/** A policy's field as a key. */
function keyOf(policy: Policy): string {
  const message = toBinary(PolicySchema, policy, { writeUnknownFields: false });
  return Buffer.of(POLICY_TAG, message.length, ...message).toString('latin1');
}

/** Whether these bytes of a message are the same as some. */
function equals(bytes: Uint8Array, message: Uint8Array, from: number, to: number): boolean {
  if (bytes.length !== to - from) return false;
  for (let n = 0; n < bytes.length; n++) if (bytes[n] !== message[from + n]) return false;
  return true;
}

/** Whether the field holds both SPIs and nothing else. */
function isPlainId(message: Uint8Array, from: number, to: number): boolean {
  if (to - from !== ID_FIELD.length) return false;
  return ID_MARKS.every((at) => message[from + at] === ID_FIELD[at]);
}
