/** A request of the headend's daemon to the spoke, and the answer: in one piece or in fragments. */

import { EXCHANGE_INFORMATIONAL, fragmentOf, isEmpty, Offset } from '../ikev2/header.ts';

/** Fragments of one message at most: 16 KiB and more. */
const MOST_FRAGMENTS = 16;

export class DaemonRequest {
  /** Message id that the daemon gave it. */
  readonly daemonId: number;
  /** Message id under which it is sent to its spoke; undefined while it waits for its turn. */
  id: number | undefined;
  /** Redis has that id, or did not confirm it in time: the request may be sent. */
  sendable = false;
  /** How often only this id was tried after a takeover. */
  askedAlone = 0;
  /** A probe may have had the same id: a former owner may have sent one, or the id was uncertain. */
  doubted: boolean;
  /** All of its answer has been handed to the daemon. */
  answered = false;
  /** As the daemon wrote them, as the spoke gets them, and as the daemon gets the answer, by fragment. */
  readonly written: Fragments = [];
  readonly sent: Fragments = [];
  readonly answers: Fragments = [];

  constructor(daemonId: number, id?: number) {
    this.daemonId = daemonId;
    this.id = id;
    this.doubted = id !== undefined;
  }

  /** The daemon has sent it to this shard; otherwise a former owner noted it. */
  get isWritten(): boolean {
    return this.written.length > 0;
  }

  /**
   * Whether an authentic response to its id answers this request, and not a probe with the same id. Its content tells: a response
   * to a probe is empty. So is one to a request that deletes the SA.
   */
  isAnsweredBy(response: Buffer): boolean {
    const written = this.written.find((fragment) => fragment !== undefined);
    if (written && written[Offset.EXCHANGE] !== response[Offset.EXCHANGE]) return false;
    if (response[Offset.EXCHANGE] !== EXCHANGE_INFORMATIONAL || !isEmpty(response)) return true;
    return written !== undefined && !this.doubted;
  }

  /** Sets the id under which it is sent to its spoke; undefined: it waits. */
  begin(id: number | undefined): void {
    if (id !== this.id) {
      this.sent.length = 0;
      this.doubted = false;
    }
    this.id = id;
    this.sendable = false;
  }

  /** Keeps a fragment unless it is known already. Returns its place; -1 if there cannot be that many. */
  static keep(fragments: Fragments, datagram: Buffer): number {
    const { number, total } = fragmentOf(datagram);
    if (number < 1 || number > total || total > MOST_FRAGMENTS) return -1;
    fragments[number - 1] ??= datagram;
    return number - 1;
  }

  /** Whether all fragments of a message have come, this one last. */
  static complete(fragments: Fragments, last: Buffer): boolean {
    const { total } = fragmentOf(last);
    for (let n = 0; n < total; n++) if (!fragments[n]) return false;
    return true;
  }
}

/** By number, the first at 0. */
type Fragments = (Buffer | undefined)[];
