/**
 * The IKEv2 liveness check (RFC 7296 section 2.4): an empty INFORMATIONAL request, and what its reply proves.
 *
 * Window of one: a request keeps its message id, and its bytes, until it is answered (section 2.1). After a takeover the id may
 * have moved on since the checkpoint. Then a probe is one message for each possible id, one after the other, the highest first: the
 * peer ignores ids above the one it expects and answers that one. So its id moves on by one, as with any probe, and the next owner
 * can calculate the ids from the time alone, even if it knows nothing of this owner's probes. An answer may be a recording of one
 * to a former owner, but only once for each id that the former owner may have used.
 */

import { Reply } from '../base/reply.ts';
import { writeSpi } from '../base/spi-index.ts';
import type { FillRandom } from '../crypto/random.ts';
import {
  EXCHANGE_INFORMATIONAL,
  FLAG_INITIATOR,
  isInformational,
  MARKER_LENGTH,
  Offset,
  PAYLOAD_SK,
  VERSION_2,
} from './header.ts';
import { SessionFlag, type SessionTable } from './sessions.ts';
import { open, seal, sealedLength } from './sk-payload.ts';

export class Ikev2Exchange {
  readonly #sessions: SessionTable;
  readonly #fillRandom: FillRandom;
  /** Handle that the last {@link receive} was about; valid unless it returned MALFORMED or UNKNOWN_SA. */
  handle = -1;

  constructor(sessions: SessionTable, fillRandom: FillRandom) {
    this.#sessions = sessions;
    this.#fillRandom = fillRandom;
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
   * @param message of exactly {@link length} bytes
   */
  write(handle: number, offset: number, message: Buffer): void {
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
    // Possible ids differ and so must differ in their IV; a given id always gets the same.
    const last = Offset.BODY + suite.ivLength - 4;
    message.writeUInt32BE((message.readUInt32BE(last) ^ mid) >>> 0, last);
    seal(suite, sessions.sendKeys(handle), message);
  }

  /** Judges a datagram. ALIVE moves the message id on. */
  receive(datagram: Buffer): Reply {
    if (!isInformational(datagram, true)) return Reply.MALFORMED;
    const sessions = this.#sessions;
    const handle = sessions.named(datagram);
    const flags = handle < 0 ? 0 : sessions.flags[handle]!;
    if ((flags & (SessionFlag.KEYED | SessionFlag.IKEV1)) !== SessionFlag.KEYED) return Reply.UNKNOWN_SA;
    this.handle = handle;
    const mid = datagram.readUInt32BE(Offset.MESSAGE_ID);
    const next = sessions.nextMid[handle]!;
    const top = next + sessions.uncertainty[handle]!;
    if (!(flags & SessionFlag.OUTSTANDING) || mid < next || mid > top) return Reply.REPLAYED;
    // Our own request reflected back carries our role, not the spoke's.
    const fromInitiator = (datagram[Offset.FLAGS]! & FLAG_INITIATOR) !== 0;
    if (fromInitiator === ((flags & SessionFlag.INITIATOR) !== 0)) return Reply.FORGED;
    if (!open(sessions.suite(handle), sessions.receiveKeys(handle), datagram)) return Reply.FORGED;
    sessions.nextMid[handle] = mid + 1;
    // Ids above it were tried before, and not answered: the next id is one higher or, if an answer was lost, two.
    sessions.uncertainty[handle] = mid + 1 < top ? 1 : 0;
    sessions.end(handle);
    sessions.answered[handle]!++;
    return Reply.ALIVE;
  }
}
