/**
 * The IKEv2 liveness check (RFC 7296 section 2.4): an empty INFORMATIONAL request, and what its reply proves.
 *
 * Window of one: a request keeps its message id, and its bytes, until it is answered (section 2.1). After a takeover
 * the id may have moved on since the checkpoint. Then a probe is the few candidates, one after the other, the highest
 * first: the peer ignores those above the id it expects and answers that one, so that it moves on by one as it does with
 * any probe, and the next owner, should he know nothing of this one's, can reckon with time alone. An answer could be a
 * recording of one to a former owner, once for each id that he may have used.
 */

import { writeSpi } from '../base/spi-index.ts';
import {
  EXCHANGE_INFORMATIONAL,
  FLAG_INITIATOR,
  GUARD_MARKER,
  isInformational,
  MARKER_LENGTH,
  Offset,
  PAYLOAD_SK,
  VERSION_2,
} from './header.ts';
import { type FillRandom, SessionFlag, type SessionTable } from './sessions.ts';
import { open, seal, sealedLength } from './sk-payload.ts';

/** What became of a datagram that came in. */
export const Reply = {
  /** Proof of life. */
  ALIVE: 0,
  MALFORMED: 1,
  UNKNOWN_SA: 2,
  /** Not authentic under the SA's keys. */
  FORGED: 3,
  /** Not an id that is asked for now. */
  REPLAYED: 4,
} as const;
export type Reply = (typeof Reply)[keyof typeof Reply];

/** Message ids a probe may have to try after a takeover, at most. */
export const MAX_CANDIDATES = 64;
/** How many a peer that answers none of them is asked with at most, unless there were more to begin with. */
const WIDEST = 16;
/** How far above the next id the true one may be, as far as a checkpoint can tell. */
const MOST_DOUBT = 255;

export class Liveness {
  readonly #sessions: SessionTable;
  readonly #fillRandom: FillRandom;
  /** Handle that the last {@link receive} was about; valid unless it returned MALFORMED or UNKNOWN_SA. */
  handle = -1;

  constructor(sessions: SessionTable, fillRandom: FillRandom) {
    this.#sessions = sessions;
    this.#fillRandom = fillRandom;
  }

  /** After a takeover: the next id is `nextMid` or up to `candidates - 1` above it. With too many the SA is {@link lost}. */
  resync(handle: number, candidates: number): void {
    this.#sessions.doubt[handle] = Math.min(candidates - 1, MOST_DOUBT);
    this.#sessions.settle(handle);
  }

  /** No candidate was answered: there are twice as many now. Nothing changes where the next id is known. */
  widen(handle: number): void {
    const candidates = this.candidates(handle);
    if (candidates > 1 && candidates < WIDEST) this.#sessions.doubt[handle] = Math.min(2 * candidates, WIDEST) - 1;
  }

  /** The next id may be any of more than {@link MAX_CANDIDATES}: the SA must not be asked any more. */
  lost(handle: number): boolean {
    return this.candidates(handle) > MAX_CANDIDATES;
  }

  /** Message ids that may be the next one, from `nextMid` on: 1, or several after a takeover. */
  candidates(handle: number): number {
    return this.#sessions.doubt[handle]! + 1;
  }

  /** Begins an exchange unless one is under way. Returns true if the probe to send repeats an earlier one. */
  begin(handle: number): boolean {
    const sessions = this.#sessions;
    if (sessions.flags[handle]! & SessionFlag.OUTSTANDING) return true;
    sessions.begin(handle, this.#fillRandom);
    return false;
  }

  /** Length of a request, bytes. */
  length(handle: number): number {
    return sealedLength(this.#sessions.suite(handle));
  }

  /**
   * Writes the request with id `nextMid + offset`.
   * @param guarded with a false marker that only the headend's rules make good
   * @param message of exactly {@link length} bytes
   */
  write(handle: number, offset: number, guarded: boolean, message: Buffer): void {
    const sessions = this.#sessions;
    const suite = sessions.suite(handle);
    const mid = sessions.nextMid[handle]! + offset;
    message.writeUInt32BE(0, Offset.MARKER);
    writeSpi(sessions.spis, handle, message, Offset.SPI_I);
    message[Offset.NEXT_PAYLOAD] = PAYLOAD_SK;
    message[Offset.VERSION] = VERSION_2;
    message[Offset.EXCHANGE] = EXCHANGE_INFORMATIONAL;
    message[Offset.FLAGS] = sessions.flags[handle]! & SessionFlag.INITIATOR ? FLAG_INITIATOR : 0;
    message.writeUInt32BE(mid, Offset.MESSAGE_ID);
    message.writeUInt32BE(message.length - MARKER_LENGTH, Offset.LENGTH);
    message.writeUInt16BE(0, Offset.SK);
    message.writeUInt16BE(message.length - Offset.SK, Offset.SK_LENGTH);
    sessions.copyIv(handle, message, Offset.BODY, suite.ivLength);
    // Candidates differ in their id and so must differ in their IV; a given id always gets the same.
    message[Offset.BODY + suite.ivLength - 1]! ^= mid & 0xff;
    seal(suite, sessions.sendKeys(handle), message);
    if (guarded) message.writeUInt32BE(GUARD_MARKER, Offset.MARKER);
  }

  /** Judges a datagram. ALIVE moves the message id on. */
  receive(datagram: Buffer): Reply {
    if (!isInformational(datagram, true)) return Reply.MALFORMED;
    const sessions = this.#sessions;
    const handle = sessions.find(
      datagram.readUInt32BE(Offset.SPI_I),
      datagram.readUInt32BE(Offset.SPI_I + 4),
      datagram.readUInt32BE(Offset.SPI_R),
      datagram.readUInt32BE(Offset.SPI_R + 4),
    );
    if (handle < 0 || !(sessions.flags[handle]! & SessionFlag.KEYED)) return Reply.UNKNOWN_SA;
    this.handle = handle;
    const flags = sessions.flags[handle]!;
    const mid = datagram.readUInt32BE(Offset.MESSAGE_ID);
    const next = sessions.nextMid[handle]!;
    const top = next + sessions.doubt[handle]!;
    if (!(flags & SessionFlag.OUTSTANDING) || mid < next || mid > top) return Reply.REPLAYED;
    // Our own request reflected back carries our role, not the spoke's.
    const fromInitiator = (datagram[Offset.FLAGS]! & FLAG_INITIATOR) !== 0;
    if (fromInitiator === ((flags & SessionFlag.INITIATOR) !== 0)) return Reply.FORGED;
    if (!open(sessions.suite(handle), sessions.receiveKeys(handle), datagram)) return Reply.FORGED;
    sessions.nextMid[handle] = mid + 1;
    // Those above it were asked before, and not answered: the next one is this or, if an answer was lost, that above.
    sessions.doubt[handle] = mid + 1 < top ? 1 : 0;
    sessions.settle(handle);
    sessions.answered[handle]!++;
    return Reply.ALIVE;
  }
}
