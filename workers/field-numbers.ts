/** For readers of messages that make no whole message. */

import type { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** Passes over the field whose tag was just read. */
export function skipField(reader: BinaryReader, tag: number): void {
  reader.skip((tag & 7) as WireType, tag >>> 3);
}

/** Numbers of a message's fields by name. */
export function fieldNumbers<Name extends string>(schema: {
  readonly field: Record<Name, { readonly number: number }>;
}): Readonly<Record<Name, number>> {
  const entries = Object.entries(schema.field) as [Name, { readonly number: number }][];
  return Object.fromEntries(entries.map(([name, { number }]) => [name, number])) as Record<Name, number>;
}
