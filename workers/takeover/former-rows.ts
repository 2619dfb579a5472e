/**
 * Rows of former owners' checkpoints: the newest one of each SA of a shard. Rows stay in their chunks, because collecting an
 * object for each would cost more than making it.
 */

import type { SpiWords } from '../base/spi.ts';
import { SpiIndex, type SpiPairs, setSpi, spiPairs } from '../base/spi-index.ts';

import type { FormerOwners } from './checkpoint.ts';
import { type CheckpointRow, decodeRow, isRow, ROW_LENGTH, spiInRow } from './checkpoint.ts';

/** What a checkpoint tells of an SA. */
export type FormerRow = Omit<CheckpointRow, 'spi'>;

export class FormerRows {
  /** By epoch. */
  readonly #chunks: readonly { readonly epoch: number; readonly bytes: DataView }[];
  readonly #index = new SpiIndex();
  readonly #spi: SpiPairs;
  /** Where an SA's row is: number of its chunk, and byte there. */
  readonly #chunk: Uint32Array;
  readonly #at: Uint32Array;
  #count = 0;

  constructor(chunks: FormerOwners['chunks']) {
    this.#chunks = chunks
      .toSorted((a, b) => a.epoch - b.epoch)
      .map(({ epoch, bytes }) => ({ epoch, bytes: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) }));
    const rows = chunks.reduce((sum, { bytes }) => sum + Math.floor(bytes.length / ROW_LENGTH), 0);
    this.#spi = spiPairs(rows);
    this.#chunk = new Uint32Array(rows);
    this.#at = new Uint32Array(rows);
    this.#chunks.forEach(({ bytes }, chunk) => {
      for (let at = 0; at + ROW_LENGTH <= bytes.byteLength; at += ROW_LENGTH)
        if (isRow(bytes, at)) this.#enter(spiInRow(bytes, at), chunk, at);
    });
  }

  /** What is known of an SA, if anything. */
  find(spi: SpiWords): FormerRow | undefined {
    const n = this.#index.find(this.#spi, ...spi);
    return n < 0 ? undefined : this.#row(n);
  }

  /** The row of a later owner wins, whatever its clock says. Of two rows of one owner the one with the higher id is newer. */
  #enter(spi: SpiWords, chunk: number, at: number): void {
    let n = this.#index.find(this.#spi, ...spi);
    if (n < 0) {
      n = this.#count++;
      setSpi(this.#spi, n, spi);
      this.#index.add(this.#spi, n);
    } else if (
      this.#epoch(this.#chunk[n]!) === this.#epoch(chunk) &&
      this.#row(n).nextMid > this.#rowAt(chunk, at).nextMid
    )
      return;
    this.#chunk[n] = chunk;
    this.#at[n] = at;
  }

  #row(n: number): FormerRow {
    return this.#rowAt(this.#chunk[n]!, this.#at[n]!);
  }

  #rowAt(chunk: number, at: number): FormerRow {
    return decodeRow(this.#chunks[chunk]!.bytes, at);
  }

  #epoch(chunk: number): number {
    return this.#chunks[chunk]!.epoch;
  }
}
