/**
 * Protobuf's wire format (protobuf.dev/programming-guides/encoding) written straight into a buffer: for messages made in
 * hundreds of thousands, of parts that are encoded already.
 */

import { WireType } from '@bufbuild/protobuf/wire';
import { copy } from '../../../workers/base/bytes.ts';

const FIRST_BYTES = 8_192;
/** A varint of a safe integer takes no more. */
const LONGEST_VARINT = 8;

export class WireWriter {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;

  /** A field of any unsigned type or an enum; up to 2^53. */
  uint(field: number, value: number): void {
    this.#room(2 * LONGEST_VARINT);
    this.#varint(field * 8 + WireType.Varint);
    this.#varint(value);
  }

  /** A field of bytes: a string, a message, or packed numbers. */
  bytes(field: number, value: Uint8Array): void {
    this.#head(field, value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** The same of a part of some bytes. */
  part(field: number, bytes: Uint8Array, from: number, length: number): void {
    this.#head(field, length);
    copy(bytes, from, this.#bytes, this.#length, length);
    this.#length += length;
  }

  /** Fields that are encoded already. */
  fields(encoded: Uint8Array): void {
    this.#room(encoded.length);
    this.#bytes.set(encoded, this.#length);
    this.#length += encoded.length;
  }

  text(field: number, value: string): void {
    const length = Buffer.byteLength(value);
    this.#head(field, length);
    this.#bytes.write(value, this.#length, length);
    this.#length += length;
  }

  /** Bytes written since it began anew. */
  get length(): number {
    return this.#length;
  }

  /** Everything written, as a copy; the writer is empty afterwards. */
  finish(): Buffer {
    const message = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return message;
  }

  /** Puts everything written into another message, as a field; the writer is empty afterwards. Returns where the field begins there. */
  finishInto(field: number, outer: WireWriter): number {
    outer.part(field, this.#bytes, 0, this.#length);
    const at = outer.length - this.#length;
    this.#length = 0;
    return at;
  }

  #head(field: number, length: number): void {
    this.#room(2 * LONGEST_VARINT + length);
    this.#varint(field * 8 + WireType.LengthDelimited);
    this.#varint(length);
  }

  #varint(value: number): void {
    let rest = value;
    for (; rest > 0x7fffffff; rest = Math.floor(rest / 128)) this.#bytes[this.#length++] = (rest % 128) | 128;
    for (; rest > 127; rest >>>= 7) this.#bytes[this.#length++] = rest | 128;
    this.#bytes[this.#length++] = rest;
  }

  #room(length: number): void {
    if (this.#length + length <= this.#bytes.length) return;
    const wider = Buffer.allocUnsafe(2 * (this.#length + length));
    this.#bytes.copy(wider, 0, 0, this.#length);
    this.#bytes = wider;
  }
}
