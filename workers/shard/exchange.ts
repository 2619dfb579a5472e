/**
 * The seam to a wire protocol: what a shard needs from it to send a probe and to read the answer. An SA's IKE version selects
 * its exchange; the header of a datagram selects that of the datagram.
 */

import { always } from '../base/always.ts';
import type { Reply } from '../base/reply.ts';
import type { FillRandom } from '../crypto/random.ts';
import { Ikev1Exchange, LEAST_SPACING_MS } from '../ikev1/exchange.ts';
import { VERSION_1 } from '../ikev1/informational.ts';
import { Ikev2Exchange } from '../ikev2/exchange.ts';
import { Offset, VERSION_2 } from '../ikev2/header.ts';
import { SessionFlag, type SessionTable } from '../ikev2/sessions.ts';
import { POLICY_LIMITS } from '../liveness/policy-limits.ts';

always(LEAST_SPACING_MS <= POLICY_LIMITS.retryIntervalMs.min, 'a takeover skips every number that can have been used');

export type Exchange = {
  /** Handle that the last {@link receive} was about; valid unless it returned MALFORMED or UNKNOWN_SA. */
  readonly handle: number;
  /** Begins an exchange unless one is under way. Returns true if one is, so that the probe repeats an earlier one. */
  begin(handle: number): boolean;
  /** Length of a probe, bytes. */
  length(handle: number): number;
  /**
   * Writes the probe with the SA's next id, or sequence number, and `offset`.
   * @param message of exactly {@link length} bytes
   */
  write(handle: number, offset: number, message: Buffer): void;
  /** Judges a datagram. ALIVE ends the exchange. */
  receive(datagram: Buffer): Reply;
};

export class Exchanges {
  readonly ikev1: Ikev1Exchange;
  readonly #ikev2: Exchange;
  readonly #sessions: SessionTable;

  constructor(sessions: SessionTable, fillRandom: FillRandom) {
    this.ikev1 = new Ikev1Exchange(sessions, fillRandom);
    this.#ikev2 = new Ikev2Exchange(sessions, fillRandom);
    this.#sessions = sessions;
  }

  /** Of an SA. */
  of(handle: number): Exchange {
    return this.#sessions.is(handle, SessionFlag.IKEV1) ? this.ikev1 : this.#ikev2;
  }

  /** The exchange for a datagram; undefined if its version is not supported. */
  speaking(datagram: Buffer): Exchange | undefined {
    const version = datagram[Offset.VERSION];
    if (version === VERSION_2) return this.#ikev2;
    return version === VERSION_1 ? this.ikev1 : undefined;
  }
}
