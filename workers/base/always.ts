/** Relations between constants, asserted where they are defined: if a change breaks a relation, the program does not start. */

/** Throws RangeError if a relation does not hold. @param relation said in one sentence */
export function always(holds: boolean, relation: string): void {
  if (!holds) throw new RangeError(`constants do not fit each other: ${relation}`);
}
