/** Share of the datagrams at a socket that were dropped unread, from any recent moment until now. */

/** Number of looks remembered; before the oldest nothing is known. */
const REMEMBERED = 512;

export class UnreadShare {
  readonly #at = new Float64Array(REMEMBERED).fill(Number.NEGATIVE_INFINITY);
  readonly #read = new Uint32Array(REMEMBERED);
  readonly #dropped = new Uint32Array(REMEMBERED);
  #looks = 0;
  #droppedAt = Number.NEGATIVE_INFINITY;

  /** Since the look before, so many datagrams were read, and so many dropped. */
  note(nowMs: number, read: number, dropped: number): void {
    const n = this.#looks++ % REMEMBERED;
    this.#at[n] = nowMs;
    this.#read[n] = read;
    this.#dropped[n] = dropped;
    if (dropped > 0) this.#droppedAt = nowMs;
  }

  /** Share of what came since that moment, 0 to 1. */
  since(fromMs: number): number {
    if (this.#droppedAt < fromMs) return 0;
    let [read, dropped] = [0, 0];
    for (let n = 0; n < REMEMBERED; n++)
      if (this.#at[n]! >= fromMs) {
        read += this.#read[n]!;
        dropped += this.#dropped[n]!;
      }
    return dropped === 0 ? 0 : dropped / (read + dropped);
  }
}
