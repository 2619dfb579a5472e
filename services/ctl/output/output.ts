/** Where `dpdctl` writes: a table for people, or one JSON object a line for programs. Waits for a reader that is slow. */

import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { type Colour, paint, safe } from './text.ts';

/** One column of a table. */
export type Column<Row> = {
  readonly title: string;
  readonly of: (row: Row) => string;
  /** Of a table that is written row by row, characters. */
  readonly width: number;
  readonly right?: boolean;
  readonly colour?: (row: Row) => Colour | undefined;
};

export class Output {
  readonly json: boolean;
  readonly #stream: Writable;
  readonly #coloured: boolean;

  constructor(stream: Writable, json: boolean, coloured: boolean) {
    this.#stream = stream;
    this.json = json;
    this.#coloured = coloured && !json;
  }

  /** Whether something that people read may be coloured, and the screen be cleared. */
  get coloured(): boolean {
    return this.#coloured;
  }

  /** All rows at once, columns as wide as they must be. @param none what people read if there are none */
  async table<Row extends object>(columns: readonly Column<Row>[], rows: readonly Row[], none: string): Promise<void> {
    if (this.json) {
      for (const row of rows) await this.object(row);
      return;
    }
    if (rows.length === 0) {
      await this.line(none);
      return;
    }
    const widths = columns.map(({ title, of }) => Math.max(title.length, ...rows.map((row) => safe(of(row)).length)));
    await this.#head(columns, widths);
    for (const row of rows) await this.#row(columns, widths, row);
  }

  /** Rows as they come. Returns how many. */
  async rows<Row extends object>(columns: readonly Column<Row>[], rows: AsyncIterable<Row>): Promise<number> {
    const widths = columns.map(({ width }) => width);
    let count = 0;
    for await (const row of rows) {
      if (this.json) await this.object(row);
      else {
        if (count === 0) await this.#head(columns, widths);
        await this.#row(columns, widths, row);
      }
      count++;
    }
    return count;
  }

  /** One JSON object on a line. Members that are undefined are left out. */
  async object(row: object): Promise<void> {
    // Terminals act on these even inside JSON.
    const text = JSON.stringify(row).replace(
      /[\u007f-\u009f]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    await this.#write(`${text}\n`);
  }

  /** A line for people. */
  async line(text: string, colour?: Colour): Promise<void> {
    await this.#write(`${this.#paint(safe(text), colour)}\n`);
  }

  /** Empties the screen, if there is one. */
  async clear(): Promise<void> {
    if (this.#coloured) await this.#write('\u001b[H\u001b[2J\u001b[3J');
  }

  async #head<Row>(columns: readonly Column<Row>[], widths: readonly number[]): Promise<void> {
    const titles = columns.map(({ title, right }, n) =>
      right ? title.padStart(widths[n]!) : title.padEnd(widths[n]!),
    );
    await this.#write(`${this.#paint(titles.join('  ').trimEnd(), 'bold')}\n`);
  }

  async #row<Row>(columns: readonly Column<Row>[], widths: readonly number[], row: Row): Promise<void> {
    const cells = columns.map(({ of, right, colour }, n) => {
      const text = safe(of(row));
      const last = n === columns.length - 1 && !right;
      const padded = last ? text : right ? text.padStart(widths[n]!) : text.padEnd(widths[n]!);
      return this.#paint(padded, colour?.(row));
    });
    await this.#write(`${cells.join('  ').trimEnd()}\n`);
  }

  #paint(text: string, colour: Colour | undefined): string {
    return this.#coloured && colour ? paint(text, colour) : text;
  }

  async #write(text: string): Promise<void> {
    if (!this.#stream.write(text)) await once(this.#stream, 'drain');
  }
}
