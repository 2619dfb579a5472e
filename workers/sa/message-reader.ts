/** Reads messages field by field, without copies: for messages that come in hundreds of thousands. */

import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** A reader that goes from message to message in its bytes, and allocates nothing for what it skips. */
export class MessageReader extends BinaryReader {
  readonly source: Uint8Array;

  constructor(bytes: Uint8Array) {
    super(bytes);
    this.source = bytes;
  }

  /** Passes over the field whose tag was just read. Throws RangeError past the end. */
  skipField(tag: number): void {
    const type = tag & 7;
    // The base class makes a view of each field that it skips: a dozen for each SA.
    if (type === WireType.LengthDelimited) this.pos = this.partEnd();
    else if (type === WireType.Varint) this.uint32();
    else this.skip(type, tag >>> 3);
  }

  /** The end of the part whose length comes next. Throws RangeError past the end. */
  partEnd(): number {
    const length = this.uint32();
    const end = this.pos + length;
    if (end > this.len) throw new RangeError(`a part of ${length} bytes at ${this.pos} of ${this.len}`);
    return end;
  }
}

/** Numbers of a message's fields by name. */
export function fieldNumbers<Name extends string>(schema: {
  readonly field: Record<Name, { readonly number: number }>;
}): Readonly<Record<Name, number>> {
  const entries = Object.entries(schema.field) as [Name, { readonly number: number }][];
  return Object.fromEntries(entries.map(([name, { number }]) => [name, number])) as Record<Name, number>;
}
