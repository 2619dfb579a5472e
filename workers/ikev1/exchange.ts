/**
 * DPD of IKEv1 (RFC 3706): R-U-THERE, and what its acknowledgement proves.
 *
 * Every message of ours carries a number of its own, one higher than the last, and a message id of its own, at random: Libreswan answers
 * no number three times, older daemons not even twice, and none takes a message id twice. An acknowledgement counts if it carries a
 * number that was asked since the last one. See docs/decisions/0031-ikev1.md.
 *
 * Both sides have the same keys. So our own question, sent back to the headend's daemon, would be answered by it, and that answer, sent
 * back to us, would look like the spoke's: a question with a number that we ask now is dropped.
 */

import { Reply } from '../base/reply.ts';
import { writeSpi } from '../base/spi-index.ts';
import type { FillRandom } from '../crypto/random.ts';
import { Offset } from '../ikev2/header.ts';
import { SessionFlag, type SessionTable } from '../ikev2/sessions.ts';
import { Content, dpdLength, found, isInformationalV1, Notify, openInformational, sealDpd } from './informational.ts';

/** Numbers asked of which an acknowledgement still counts: those of a peer that has never answered grow for ever. */
const REMEMBERED = 64;
/** A probe follows the one before not sooner than after the shortest retry interval, ms: so many numbers may have been used in a time. */
export const LEAST_SPACING_MS = 200;
const RANDOM = Buffer.alloc(4);

export class Ikev1Exchange {
  readonly #sessions: SessionTable;
  readonly #fillRandom: FillRandom;
  /** Handle that the last {@link receive} was about; valid unless it returned MALFORMED or UNKNOWN_SA. */
  handle = -1;

  constructor(sessions: SessionTable, fillRandom: FillRandom) {
    this.#sessions = sessions;
    this.#fillRandom = fillRandom;
  }

  /** Takes the next number. Returns true if an earlier one is not acknowledged yet. */
  begin(handle: number): boolean {
    const { flags, nextMid, uncertainty } = this.#sessions;
    if (!(flags[handle]! & SessionFlag.OUTSTANDING)) {
      this.#sessions.begin(handle, this.#fillRandom);
      uncertainty[handle] = 0;
      return false;
    }
    if (uncertainty[handle]! < REMEMBERED - 1) uncertainty[handle]!++;
    else nextMid[handle]!++;
    return true;
  }

  /** The number taken last, counted from `nextMid`, which is the lowest that still counts. */
  offset(handle: number): number {
    return this.#sessions.uncertainty[handle]!;
  }

  /** Length of a question, bytes. */
  length(handle: number): number {
    return dpdLength(this.#sessions.ikev1Suite(handle));
  }

  /**
   * Writes the question with the number `nextMid + offset`, under a new message id.
   * @param message of exactly {@link length} bytes
   */
  write(handle: number, offset: number, message: Buffer): void {
    const sessions = this.#sessions;
    writeSpi(sessions.spis, handle, message, Offset.SPI_I);
    this.#fillRandom(RANDOM, 0, RANDOM.length);
    // 0 is the id of phase 1.
    const messageId = RANDOM.readUInt32BE() || 1;
    const number = sessions.nextMid[handle]! + offset;
    sealDpd(sessions.ikev1Suite(handle), sessions.ikev1Keys(handle), Notify.R_U_THERE, number, messageId, message);
  }

  /** Judges a datagram. ALIVE moves the number on. What is REPLAYED or FORGED may be for the headend's daemon; TAKEN is for nobody. */
  receive(datagram: Buffer): Reply {
    if (!isInformationalV1(datagram)) return Reply.MALFORMED;
    const sessions = this.#sessions;
    const handle = sessions.named(datagram);
    if (handle < 0 || !sessions.is(handle, SessionFlag.IKEV1)) return Reply.UNKNOWN_SA;
    this.handle = handle;
    // Without a question there is nothing to find out.
    if (!sessions.is(handle, SessionFlag.KEYED | SessionFlag.OUTSTANDING)) return Reply.REPLAYED;
    const content = openInformational(sessions.ikev1Suite(handle), sessions.ikev1Keys(handle), datagram);
    if (content === Content.FORGED) return Reply.FORGED;
    const above = found.sequence - sessions.nextMid[handle]!;
    const asked = above >= 0 && above <= sessions.uncertainty[handle]!;
    if (content === Content.R_U_THERE && asked) return Reply.TAKEN;
    if (content !== Content.ACK || !asked) return Reply.REPLAYED;
    sessions.nextMid[handle]! += sessions.uncertainty[handle]! + 1;
    sessions.uncertainty[handle] = 0;
    sessions.end(handle);
    sessions.answered[handle]!++;
    return Reply.ALIVE;
  }

  /**
   * Another owner may have asked for so long, ms: the next number is higher than any that it can have used. Daemons take every number
   * that is higher than the last.
   */
  skip(handle: number, gapMs: number): void {
    const { nextMid, uncertainty } = this.#sessions;
    this.#sessions.end(handle);
    nextMid[handle]! += uncertainty[handle]! + 2 + Math.ceil(gapMs / LEAST_SPACING_MS);
    uncertainty[handle] = 0;
  }
}
