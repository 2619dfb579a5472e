/** SPI pairs as words, and as Redis and checkpoints name them. */

/** An SPI pair as four big-endian words: initiator's high and low, responder's high and low. */
export type SpiWords = readonly [i0: number, i1: number, r0: number, r1: number];

/** The pair as 32 hex digits, from its words. */
export function wordsHex([i0, i1, r0, r1]: SpiWords): string {
  PAIR.writeUInt32BE(i0, 0);
  PAIR.writeUInt32BE(i1, 4);
  PAIR.writeUInt32BE(r0, 8);
  PAIR.writeUInt32BE(r1, 12);
  return PAIR.toString('hex');
}
const PAIR = Buffer.alloc(16);
