/**
 * The shard in front of the headend's daemon. The daemon numbers its requests on an SA from the id at which it was parked. The
 * shard opens each request, seals it again under the SA's true next id, and sends it like a probe; the answer goes back under the
 * daemon's id. Only one message at a time may use an SA's next id (RFC 7296 section 2.3): so a request waits for the answer to a
 * probe, and a request under way serves as the probe. A response that answers nothing of ours is handed to the daemon unchanged.
 *
 * The id of a request is in Redis before the request is sent. So the next owner of the shard does not give it another id, and does
 * not take the id for unused.
 */

import type { Address } from '../base/address.ts';
import { Reply } from '../base/reply.ts';
import type { FillRandom } from '../crypto/random.ts';
import { FLAG_INITIATOR, FLAG_RESPONSE, isDaemonRequest, isEncrypted, Offset } from '../ikev2/header.ts';
import { SessionFlag, type SessionTable } from '../ikev2/sessions.ts';
import { reseal } from '../ikev2/sk-payload.ts';
import type { Sender } from '../net/probe-socket.ts';
import { DaemonRequest } from './request.ts';

/** Maximum number of requests remembered, one an SA; the daemon has to repeat others. */
const MOST_REQUESTS = 16_384;
/** After a takeover a request is sent so often with the id that it may have, before other possible ids are tried. */
const ALONE = 2;
/** Longest wait for Redis before a request is sent anyway, ms: the daemon gives an SA up if its request is not answered. */
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
  /** Has the id of the daemon's request written to Redis; see {@link Front.noted}. */
  note(handle: number, daemonId: number, id: number): void;
  toSpoke(handle: number, message: Buffer): boolean;
  /** To the daemon, as if it came from that spoke. @param handle -1: the SA is not known */
  toDaemon(handle: number, message: Buffer, from: Address, port: number): boolean;
  /** Part of an answer came, authenticated. */
  heard(handle: number): void;
};

export class Front {
  readonly #context: FrontContext;
  readonly #requests = new Map<number, DaemonRequest>();
  /** Requests that came while another was under way. */
  readonly #next = new Map<number, DaemonRequest>();
  /** Handles whose request id is being written to Redis, and how long to wait for that, ms. */
  readonly #noting = new Map<number, number>();
  readonly #iv = Buffer.alloc(IV_LENGTH);
  /** Handle that the last {@link receive} was about, if it returned ALIVE. */
  handle = -1;
  readonly count = { requestsTranslated: 0, requestsAnswered: 0, handedOver: 0 };

  constructor(context: FrontContext) {
    this.#context = context;
  }

  /** Takes a datagram that answers no probe. ALIVE: a request of the daemon's was answered completely. */
  receive(datagram: Buffer, sender: Sender): Reply {
    if (!this.#context.guarded() || !isEncrypted(datagram)) return Reply.MALFORMED;
    const { sessions } = this.#context;
    const handle = sessions.named(datagram);
    if (handle < 0) return this.handOver(handle, datagram, sender) ? Reply.TAKEN : Reply.UNKNOWN_SA;
    if (sessions.is(handle, SessionFlag.IKEV1) || !this.#context.opened(handle)) return Reply.UNKNOWN_SA;
    if (isDaemonRequest(datagram)) return this.#request(handle, datagram);
    if ((datagram[Offset.FLAGS]! & FLAG_RESPONSE) === 0) return Reply.MALFORMED;
    const request = this.#requests.get(handle);
    const mid = datagram.readUInt32BE(Offset.MESSAGE_ID);
    if (request?.id === mid && !request.answered && mid >= sessions.nextMid[handle]!)
      return this.#answer(handle, request, datagram, sender);
    // On a parked SA the daemon expects no answer under a true id.
    if (sessions.is(handle, SessionFlag.PARKED)) return Reply.REPLAYED;
    return this.handOver(handle, datagram, sender) ? Reply.TAKEN : Reply.REPLAYED;
  }

  /** The SA's next id is free now: a waiting request is sent. */
  turn(handle: number): void {
    const request = this.#requests.get(handle);
    // The daemon may already have the answer to a former owner's request.
    if (!request?.isWritten || request.answered) return;
    const { sessions } = this.#context;
    // The answer under this id went to a former owner, because the daemon has got none.
    if (request.id !== undefined && request.id < sessions.nextMid[handle]!) request.begin(undefined);
    if (sessions.is(handle, SessionFlag.TRANSLATED)) return;
    if (!this.#context.mayAsk(handle)) {
      // The next answer shows the id; a probe for that need not wait for an interval.
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

  /** Sends requests that Redis did not confirm in time. */
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
   * Another owner may have asked meanwhile, so the request's id may be used. The request is sent again when the next id is
   * known, under the same id if it is still the next.
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
   * Whether a former owner's request may have the lowest possible id, and be carried out already. Then this id is tried before all
   * others: the spoke still has the answer, but loses it with the next request.
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
    // Sealed again under its present id, only to check that the daemon wrote it.
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
      // The request under way must be answered first, although the daemon has begun anew.
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
      // A probe of a former owner had this id: the request gets the next one.
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

  /**
   * Gives a datagram to the headend's daemon unchanged, as if it came from there. False if the rules cannot do that.
   * @param handle -1: the SA is not known
   */
  handOver(handle: number, datagram: Buffer, { address, port }: Sender): boolean {
    if (!this.#context.guarded()) return false;
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
