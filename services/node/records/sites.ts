/** Site labels as small numbers, so that a peer costs two bytes. */

/** Labels a node can tell apart; SAs of further ones count as having none. */
const MAX_SITES = 10_000;

export class Sites {
  readonly #names = [''];
  readonly #numbers = new Map([['', 0]]);

  /** Number of a label, 0 for none. */
  number(label: string): number {
    let number = this.#numbers.get(label);
    if (number === undefined) {
      if (this.#names.length > MAX_SITES) return 0;
      number = this.#names.push(label) - 1;
      this.#numbers.set(label, number);
    }
    return number;
  }

  name(number: number): string {
    return this.#names[number] ?? '';
  }
}
