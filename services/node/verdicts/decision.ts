/**
 * A verdict as the shard's thread decided it, before it is composed: a row of numbers, and where its SA is known. A burst
 * makes a hundred thousand of these, so it holds nothing that can be looked up when its turn comes.
 */

import type { ShardVerdict } from '../../../workers/shard/protocol.ts';
import { handleAt, verdictAt } from '../../../workers/shard/verdict-rows.ts';
import type { ShardRecords } from '../records/records.ts';

export class Decision {
  readonly handle: number;
  readonly spi: string;
  readonly #records: ShardRecords;
  readonly #rows: Float64Array;
  readonly #row: number;

  /** @param records with the handle in use */
  constructor(records: ShardRecords, rows: Float64Array, row: number) {
    this.handle = handleAt(rows, row);
    this.spi = records.spi(this.handle);
    this.#records = records;
    this.#rows = rows;
    this.#row = row;
  }

  get verdict(): ShardVerdict {
    return verdictAt(this.#rows, this.#row);
  }

  /** Message of the SA without keys, or undefined if the SA is gone. */
  get sa(): Buffer | undefined {
    return this.#records.encoded(this.handle);
  }

  /** Writes that message. Returns its length, bytes; 0 if the SA is gone. */
  copySa(message: Buffer): number {
    return this.#records.copyEncoded(this.handle, message);
  }
}
