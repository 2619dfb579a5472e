/** Columns of the tables: typed arrays that grow, without an object for each row. */

/** Room for at least `needed` where there is room for `have`: a quarter more, so that little lies idle. */
export function roomFor(needed: number, have: number): number {
  return Math.max(needed, Math.ceil(have * 1.25), 1_024);
}

/** Copies `from` into the start of `wide` and returns it. */
export function widen<T extends Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array | Float64Array>(
  wide: T,
  from: T,
): T {
  wide.set(from);
  return wide;
}
