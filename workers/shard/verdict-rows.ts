/** Verdicts that a thread sends: rows of numbers, without an object for each. */

import type { ShardVerdict } from './protocol.ts';

const COLUMNS = 8;

export class VerdictRows {
  #cells: number[] = [];

  get empty(): boolean {
    return this.#cells.length === 0;
  }

  add(verdict: ShardVerdict): void {
    this.#cells.push(
      verdict.handle,
      verdict.lastEvidenceUnix,
      verdict.firstProbeUnix,
      verdict.probesSent,
      verdict.earliestUnix,
      verdict.decidedUnix,
      verdict.blindMs,
      verdict.asked,
    );
  }

  /** All verdicts added since the last call; then the rows are empty. */
  drain(): Float64Array<ArrayBuffer> {
    const rows = new Float64Array(this.#cells);
    this.#cells = [];
    return rows;
  }
}

/** How many verdicts there are in rows. */
export function verdictCount(rows: Float64Array): number {
  return rows.length / COLUMNS;
}

/** Handle of the verdict in a row. */
export function handleAt(rows: Float64Array, row: number): number {
  return rows[row * COLUMNS]!;
}

/** Whether an operator asked for the verdict in a row. */
export function askedAt(rows: Float64Array, row: number): boolean {
  return rows[row * COLUMNS + 7]! > 0;
}

/** The verdict in a row. */
export function verdictAt(rows: Float64Array, row: number): ShardVerdict {
  const at = row * COLUMNS;
  return {
    handle: rows[at]!,
    lastEvidenceUnix: rows[at + 1]!,
    firstProbeUnix: rows[at + 2]!,
    probesSent: rows[at + 3]!,
    earliestUnix: rows[at + 4]!,
    decidedUnix: rows[at + 5]!,
    blindMs: rows[at + 6]!,
    asked: rows[at + 7]!,
  };
}
