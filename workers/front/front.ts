/**
 * The shard in front of the headend's daemon. The daemon counts its requests on an SA in a space of its own, from where it was
 * parked. Each is opened, sealed anew under the SA's true next id, and sent as a probe is; the answer goes back under the daemon's
 * id. One message at a time has an SA's next id (RFC 7296 section 2.3): a request waits for the answer to a probe, and while it is
 * under way it is the probe. What answers nothing of ours is handed to the daemon as it came.
 *
 * Which id a request got is in Redis before it is sent, so that the next owner of the shard neither gives it another nor takes the
 * id for unused.
 */

import type { Address } from '../base/address.ts';
import { Reply } from '../base/reply.ts';
import type { FillRandom } from '../crypto/random.ts';
import { FLAG_INITIATOR, FLAG_RESPONSE, isDaemonRequest, isEncrypted, Offset } from '../ikev2/header.ts';
import { SessionFlag, type SessionTable } from '../ikev2/sessions.ts';
import { reseal } from '../ikev2/sk-payload.ts';
import type { Sender } from '../net/probe-socket.ts';
import { DaemonRequest } from './request.ts';

/** SAs whose daemon's latest request is remembered at most; more have to be repeated by the daemon. */
const MOST_REQUESTS = 16_384;
/** After a takeover the id that a request may have is asked for alone so often, before the other possible ones are. */
const ALONE = 2;
/** Longest wait for Redis before a request is sent all the same: the daemon gives an SA up whose request is not answered, ms. */
const NOTE_MS = 300;
const IV_LENGTH = 16;

export type FrontContext = {
  readonly sessions: SessionTable;
  readonly fillRandom: FillRandom;
  now(): number;
  /** Whether the headend's rules bring the daemon's requests here. */
  guarded(): boolean;
  /** Whether the SA's keys are known, and open. */
  opened(handle: number): boolean;
  /** Whether a request may be sent to this peer now: the path is proven, the next id known, nothing under way. */
  mayAsk(handle: number): boolean;
  /** The peer should be asked soon, so that its next id is known. */
  askSoon(handle: number): void;
  /** Has it written down that the daemon's request has this id; see {@link Front.noted}. */
  note(handle: number, daemonId: number, id: number): void;
  toSpoke(handle: number, message: Buffer): boolean;
  /** As if it came from there. @param handle -1: of an SA that is not known */
  toDaemon(handle: number, message: Buffer, from: Address, port: number): boolean;
  /** Part of an answer came, authenticated. */
  heard(handle: number): void;
};

export class Front {
  readonly #context: FrontContext;
  readonly #requests = new Map<number, DaemonRequest>();
  /** Requests that came while another was under way. */
  readonly #next = new Map<number, DaemonRequest>();
  /** Handles whose request's id is on its way into Redis, and until when that is waited for, ms. */
  readonly #noting = new Map<number, number>();
  readonly #iv = Buffer.alloc(IV_LENGTH);
  /** Handle that the last {@link receive} was about, if it returned ALIVE. */
  handle = -1;
  readonly count = { requestsTranslated: 0, requestsAnswered: 0, handedOver: 0 };

  constructor(context: FrontContext) {
    this.#context = context;
  }

  /** Takes what is no answer to a probe. ALIVE: a request of the daemon's was answered, in full. */
  receive(datagram: Buffer, sender: Sender): Reply {
    if (!this.#context.guarded() || !isEncrypted(datagram)) return Reply.MALFORMED;
    const { sessions } = this.#context;
    const handle = sessions.named(datagram);
    if (handle < 0) return this.#handOver(handle, datagram, sender) ? Reply.TAKEN : Reply.UNKNOWN_SA;
    if (!this.#context.opened(handle)) return Reply.UNKNOWN_SA;
    if (isDaemonRequest(datagram)) return this.#request(handle, datagram);
    if ((datagram[Offset.FLAGS]! & FLAG_RESPONSE) === 0) return Reply.MALFORMED;
    const request = this.#requests.get(handle);
    const mid = datagram.readUInt32BE(Offset.MESSAGE_ID);
    if (request?.id === mid && !request.answered && mid >= sessions.nextMid[handle]!)
      return this.#answer(handle, request, datagram, sender);
    // On a parked SA the daemon expects no answer under a true id.
    if (sessions.is(handle, SessionFlag.PARKED)) return Reply.REPLAYED;
    return this.#handOver(handle, datagram, sender) ? Reply.TAKEN : Reply.REPLAYED;
  }

  /** Nothing else has the SA's next id now: a request that waited is sent. */
  turn(handle: number): void {
    const request = this.#requests.get(handle);
    // Of a former owner's request the daemon may have had its answer.
    if (!request?.isWritten || request.answered) return;
    const { sessions } = this.#context;
    // Under this id somebody else was answered: to a former owner, as nobody told the daemon.
    if (request.id !== undefined && request.id < sessions.nextMid[handle]!) request.begin(undefined);
    if (sessions.is(handle, SessionFlag.TRANSLATED)) return;
    if (!this.#context.mayAsk(handle)) {
      // The next answer says which id it is; that need not wait for an interval.
      if (sessions.uncertainty[handle]! > 0) this.#context.askSoon(handle);
      return;
    }
    const id = sessions.nextMid[handle]!;
    request.begin(id);
    sessions.flags[handle]! |= SessionFlag.TRANSLATED;
    this.#translate(handle, request);
    this.count.requestsTranslated++;
    this.#noting.set(handle, this.#context.now() + NOTE_MS);
    this.#context.note(handle, request.daemonId, id);
  }

  /** Redis knows which id the daemon's request has. */
  noted(handle: number, daemonId: number): void {
    const request = this.#requests.get(handle);
    if (request?.daemonId !== daemonId || !this.#noting.delete(handle)) return;
    request.sendable = true;
    this.repeat(handle);
  }

  /** What Redis does not say in time is sent all the same. */
  tick(nowMs: number): void {
    for (const [handle, untilMs] of this.#noting) {
      if (untilMs > nowMs) return;
      this.noted(handle, this.#requests.get(handle)!.daemonId);
    }
  }

  /** Nothing is due before this moment, ms. */
  get idleUntilMs(): number {
    for (const untilMs of this.#noting.values()) return untilMs;
    return Number.POSITIVE_INFINITY;
  }

  /** Sends the request that is under way once more. False if it may not, or could not leave. */
  repeat(handle: number): boolean {
    const request = this.#requests.get(handle);
    if (!request?.sendable) return false;
    let left = true;
    for (const message of request.sent) if (message) left = this.#context.toSpoke(handle, message) && left;
    return left;
  }

  /**
   * Whether that id is in use is doubted: somebody else may have asked meanwhile. The request is sent again when the next id is
   * known, under the same if that is it.
   */
  suspend(handle: number): void {
    this.#context.sessions.flags[handle]! &= ~SessionFlag.TRANSLATED;
    this.#noting.delete(handle);
    const request = this.#requests.get(handle);
    if (request) request.doubted = true;
  }

  /** A former owner gave the daemon's request this id. */
  restore(handle: number, daemonId: number, id: number): void {
    this.#requests.set(handle, new DaemonRequest(daemonId, id));
  }

  /**
   * Whether a former owner's request may have the lowest possible id, and be carried out already. Then this one is asked for before all
   * others: the spoke still has the answer, which it loses with the next request.
   */
  askAlone(handle: number): boolean {
    const { sessions } = this.#context;
    const request = this.#requests.get(handle);
    if (!request || request.answered || request.id !== sessions.nextMid[handle]!) return false;
    return sessions.uncertainty[handle]! > 0 && request.askedAlone++ < ALONE;
  }

  /** The SA is gone. */
  forget(handle: number): void {
    this.#requests.delete(handle);
    this.#next.delete(handle);
    this.#noting.delete(handle);
  }

  #request(handle: number, datagram: Buffer): Reply {
    const { sessions } = this.#context;
    const fromInitiator = (datagram[Offset.FLAGS]! & FLAG_INITIATOR) !== 0;
    if (fromInitiator !== sessions.is(handle, SessionFlag.INITIATOR)) return Reply.FORGED;
    const daemonId = datagram.readUInt32BE(Offset.MESSAGE_ID);
    const message = Buffer.from(datagram);
    // Sealed anew under the id that it has: only to see that the daemon wrote it.
    if (!this.#reseal(handle, Buffer.from(datagram), daemonId, 'send')) return Reply.FORGED;
    const request = this.#requestOf(handle, daemonId);
    if (!request) return Reply.REPLAYED;
    if (request.answered) {
      // The answer was lost between here and the daemon.
      this.#toDaemon(handle, request);
      return Reply.TAKEN;
    }
    const n = DaemonRequest.keep(request.written, message);
    if (request !== this.#requests.get(handle)) return Reply.TAKEN;
    if (!sessions.is(handle, SessionFlag.TRANSLATED)) {
      this.turn(handle);
      if (!sessions.is(handle, SessionFlag.TRANSLATED)) this.#context.askSoon(handle);
      return Reply.TAKEN;
    }
    this.#translate(handle, request);
    const sent = request.sent[n];
    if (request.sendable && sent) this.#context.toSpoke(handle, sent);
    return Reply.TAKEN;
  }

  /** The daemon's request with this id, perhaps a new one; undefined if there is no room. */
  #requestOf(handle: number, daemonId: number): DaemonRequest | undefined {
    const known = this.#requests.get(handle);
    if (known?.daemonId === daemonId) return known;
    const request = new DaemonRequest(daemonId);
    if (this.#context.sessions.is(handle, SessionFlag.TRANSLATED)) {
      // What is under way has to be answered first, though the daemon has begun anew.
      const waiting = this.#next.get(handle);
      if (waiting?.daemonId === daemonId) return waiting;
      this.#next.set(handle, request);
      return request;
    }
    if (!known && this.#requests.size >= MOST_REQUESTS && !this.#makeRoom()) return undefined;
    this.#requests.delete(handle);
    this.#requests.set(handle, request);
    return request;
  }

  /** Forgets the oldest request if it is answered. */
  #makeRoom(): boolean {
    for (const [handle, { answered }] of this.#requests) return answered && this.#requests.delete(handle);
    return false;
  }

  /** Seals what was not sealed yet under the SA's id. */
  #translate(handle: number, request: DaemonRequest): void {
    request.written.forEach((written, n) => {
      if (!written || request.sent[n]) return;
      const message = Buffer.from(written);
      if (this.#reseal(handle, message, request.id!, 'send')) request.sent[n] = message;
    });
  }

  #answer(handle: number, request: DaemonRequest, datagram: Buffer, { address, port }: Sender): Reply {
    const { sessions } = this.#context;
    const fromInitiator = (datagram[Offset.FLAGS]! & FLAG_INITIATOR) !== 0;
    if (fromInitiator === sessions.is(handle, SessionFlag.INITIATOR)) return Reply.FORGED;
    const message = Buffer.from(datagram);
    if (!this.#reseal(handle, message, request.daemonId, 'receive')) return Reply.FORGED;
    if (!request.isAnsweredBy(message)) {
      // A probe of a former owner's has had this id, after all: the request gets the next one.
      request.begin(undefined);
      this.#end(handle, request, datagram.readUInt32BE(Offset.MESSAGE_ID));
      return Reply.ALIVE;
    }
    DaemonRequest.keep(request.answers, message);
    this.#context.toDaemon(handle, message, address, port);
    if (!DaemonRequest.complete(request.answers, message)) {
      this.#context.heard(handle);
      return Reply.TAKEN;
    }
    request.answered = true;
    this.count.requestsAnswered++;
    this.#end(handle, this.#next.get(handle) ?? request, request.id!);
    this.#next.delete(handle);
    return Reply.ALIVE;
  }

  /** The id was answered. @param request the daemon's latest */
  #end(handle: number, request: DaemonRequest, id: number): void {
    const { sessions } = this.#context;
    this.#noting.delete(handle);
    this.#requests.set(handle, request);
    sessions.nextMid[handle] = id + 1;
    sessions.uncertainty[handle] = 0;
    sessions.flags[handle]! &= ~SessionFlag.TRANSLATED;
    sessions.end(handle);
    sessions.answered[handle]!++;
    this.handle = handle;
  }

  #toDaemon(handle: number, { answers }: DaemonRequest): void {
    const { address, port } = this.#context.sessions;
    for (const message of answers)
      if (message) this.#context.toDaemon(handle, message, address.get(handle), port[handle]!);
  }

  #handOver(handle: number, datagram: Buffer, { address, port }: Sender): boolean {
    if (!this.#context.toDaemon(handle, Buffer.from(datagram), address, port)) return false;
    this.count.handedOver++;
    return true;
  }

  #reseal(handle: number, message: Buffer, id: number, direction: 'send' | 'receive'): boolean {
    const { sessions } = this.#context;
    this.#context.fillRandom(this.#iv, 0, IV_LENGTH);
    const keys = direction === 'send' ? sessions.sendKeys(handle) : sessions.receiveKeys(handle);
    return reseal(sessions.suite(handle), keys, message, id, this.#iv);
  }
}
