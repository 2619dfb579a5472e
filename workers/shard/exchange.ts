/**
 * The seam to a wire protocol: what a shard needs from it to send a probe and to read the answer. An SA's IKE version selects
 * its exchange; the header of a datagram selects that of the datagram.
 */

import type { Reply } from '../base/reply.ts';
import type { FillRandom } from '../crypto/random.ts';
import { Ikev2Exchange } from '../ikev2/exchange.ts';
import { Offset, VERSION_2 } from '../ikev2/header.ts';
import type { SessionTable } from '../ikev2/sessions.ts';

export type Exchange = {
  /** Handle that the last {@link receive} was about; valid unless it returned MALFORMED or UNKNOWN_SA. */
  readonly handle: number;
  /** Begins an exchange unless one is under way. Returns true if the probe to send repeats an earlier one. */
  begin(handle: number): boolean;
  /** Length of a probe, bytes. */
  length(handle: number): number;
  /**
   * Writes the probe with the SA's next id and `offset`; the same id always gives the same bytes.
   * @param message of exactly {@link length} bytes
   */
  write(handle: number, offset: number, message: Buffer): void;
  /** Judges a datagram. ALIVE ends the exchange. */
  receive(datagram: Buffer): Reply;
};

export class Exchanges {
  readonly #ikev2: Exchange;

  constructor(sessions: SessionTable, fillRandom: FillRandom) {
    this.#ikev2 = new Ikev2Exchange(sessions, fillRandom);
  }

  /** Of an SA. */
  of(_handle: number): Exchange {
    return this.#ikev2;
  }

  /** The exchange for a datagram; undefined if its version is not supported. */
  speaking(datagram: Buffer): Exchange | undefined {
    return datagram[Offset.VERSION] === VERSION_2 ? this.#ikev2 : undefined;
  }
}
