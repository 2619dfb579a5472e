/** Buffers that messages are written into before they are sent, each exactly as long as its message, used in turn. */

/** A buffer is used again after so many sends of its length. */
export const SENDS_IN_FLIGHT = 1_024;

/** Maximum number of lengths that have buffers. Probes and canaries have fewer lengths, but a request of the daemon may have any. */
const MOST_LENGTHS = 32;

export class SendBuffers {
  /** By length of the message. */
  readonly #rings: (Ring | undefined)[] = [];
  #lengths = 0;

  /** The next buffer of this length. */
  next(length: number): Buffer {
    let ring = this.#rings[length];
    if (!ring) {
      if (this.#lengths === MOST_LENGTHS) return Buffer.allocUnsafeSlow(length);
      this.#lengths++;
      ring = new Ring(length);
      this.#rings[length] = ring;
    }
    return ring.next();
  }
}

class Ring {
  readonly #length: number;
  readonly #block: Buffer;
  readonly #buffers: Buffer[] = [];
  #at = -1;

  constructor(length: number) {
    this.#length = length;
    this.#block = Buffer.allocUnsafeSlow(SENDS_IN_FLIGHT * length);
  }

  next(): Buffer {
    this.#at = (this.#at + 1) % SENDS_IN_FLIGHT;
    if (this.#at === this.#buffers.length) {
      const start = this.#at * this.#length;
      this.#buffers.push(this.#block.subarray(start, start + this.#length));
    }
    return this.#buffers[this.#at]!;
  }
}
