/** What former owners' checkpoints tell of a shard's SAs, the newest row of each: in columns, as there are as many as SAs. */

import { type CheckpointRow, decodeChunk, ROW_LENGTH } from './checkpoint.ts';
import { SpiIndex } from './ike/spi-index.ts';
import type { FormerOwners } from './protocol.ts';
import type { SpiWords } from './spi.ts';

const Known = { OUTSTANDING: 1, FRESH: 2 } as const;

export class FormerRows {
  readonly #index = new SpiIndex();
  readonly #spi: Parameters<SpiIndex['find']>[0];
  readonly #epoch: Float64Array;
  readonly #nextMid: Uint32Array;
  readonly #heardUnix: Float64Array;
  readonly #known: Uint8Array;
  readonly #doubt: Uint8Array;
  #count = 0;

  constructor(chunks: FormerOwners['chunks']) {
    const rows = chunks.reduce((sum, { bytes }) => sum + Math.floor(bytes.length / ROW_LENGTH), 0);
    const words = () => new Uint32Array(rows);
    this.#spi = { spiI0: words(), spiI1: words(), spiR0: words(), spiR1: words() };
    this.#epoch = new Float64Array(rows);
    this.#nextMid = words();
    this.#heardUnix = new Float64Array(rows);
    this.#known = new Uint8Array(rows);
    this.#doubt = new Uint8Array(rows);
    for (const { epoch, bytes } of chunks.toSorted((a, b) => a.epoch - b.epoch))
      for (const row of decodeChunk(bytes)) this.#enter(row, epoch);
  }

  /** What is known of an SA, if anything. */
  find(spi: SpiWords): Omit<CheckpointRow, 'spi'> | undefined {
    const n = this.#index.find(this.#spi, ...spi);
    if (n < 0) return undefined;
    return {
      nextMid: this.#nextMid[n]!,
      heardUnix: this.#heardUnix[n]!,
      outstanding: (this.#known[n]! & Known.OUTSTANDING) !== 0,
      fresh: (this.#known[n]! & Known.FRESH) !== 0,
      doubt: this.#doubt[n]!,
    };
  }

  /** A later owner knows better, by a clock of his own; of one owner's rows the one with the higher id is newer. */
  #enter({ spi, nextMid, heardUnix, outstanding, fresh, doubt }: CheckpointRow, epoch: number): void {
    let n = this.#index.find(this.#spi, ...spi);
    if (n < 0) {
      n = this.#count++;
      [this.#spi.spiI0[n], this.#spi.spiI1[n], this.#spi.spiR0[n], this.#spi.spiR1[n]] = spi;
      this.#index.add(this.#spi, n);
    } else if (this.#epoch[n] === epoch && this.#nextMid[n]! > nextMid) return;
    this.#epoch[n] = epoch;
    this.#nextMid[n] = nextMid;
    this.#heardUnix[n] = heardUnix;
    this.#known[n] = (outstanding ? Known.OUTSTANDING : 0) | (fresh ? Known.FRESH : 0);
    this.#doubt[n] = doubt;
  }
}
