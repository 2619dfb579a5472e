/** Relations between constants, asserted where they are defined: a change of one that breaks another does not start. */

/** Throws RangeError if a relation does not hold. @param relation said in one sentence */
export function always(holds: boolean, relation: string): void {
  if (!holds) throw new RangeError(`constants do not fit each other: ${relation}`);
}
