/**
 * A shard: the liveness machine joined to the IKE wire. Given a clock and three ways out (datagrams, messages to the
 * main thread, random bytes), so that a thread and a simulator run the same code.
 */

import type { Address } from '../base/address.ts';
import { Reply } from '../base/reply.ts';
import type { FillRandom } from '../crypto/random.ts';
import { Front } from '../front/front.ts';
import { isInformationalV1 } from '../ikev1/informational.ts';
import { SessionFlag, SessionTable } from '../ikev2/sessions.ts';
import { KeyKeeper, type KeyVault } from '../keys/key-keeper.ts';
import { Machine } from '../liveness/machine.ts';
import { Flag, State } from '../liveness/peers.ts';
import { type Plan, UNWATCHED } from '../liveness/policy.ts';
import { NO_ROUND_TRIP } from '../liveness/round-trips.ts';
import { Traced } from '../liveness/traced.ts';
import type { Sender } from '../net/probe-socket.ts';
import { type SENDS_IN_FLIGHT, SendBuffers } from '../net/send-buffers.ts';
import { UnreadShare } from '../net/unread-share.ts';
import { isCanary } from '../path/canary.ts';
import { ProbePath } from '../path/probe-path.ts';
import type { ShardPath } from '../path/ways.ts';
import { NO_MID } from '../sa/ids.ts';
import { type CheckpointPart, CheckpointWriter, type FormerOwners } from '../takeover/checkpoint.ts';
import { IdUncertainty, possibleIdsAfter } from '../takeover/id-uncertainty.ts';
import type { ThreadCounts } from './counters.ts';
import { Exchanges } from './exchange.ts';
import { type Abandoned, Intake, type ShardSa } from './intake.ts';
import { Outbox } from './outbox.ts';
import type { Pacer } from './pacer.ts';
import type { FromShard, PeerStatus, ToShard } from './protocol.ts';

/** The shard's surroundings. */
export type ShardIo = {
  /** Monotonic clock that all threads share, ms. */
  now(): number;
  /** Unix time, ms. */
  wall(): number;
  fillRandom: FillRandom;
  /**
   * Sends a message, whose buffer may be used again {@link SENDS_IN_FLIGHT} sends later. False if it could not be taken.
   * @param handle for {@link Shard.sendFailed}, or -1
   */
  send(message: Buffer, address: Address, port: number, handle: number): boolean;
  post(message: FromShard): void;
  /** What probes are paced by; shared by the shards of a thread. Without one there is no limit. */
  readonly pacer?: Pacer;
  /** Number of the shard: the low bits of its SAs' responder SPIs. */
  readonly shard: number;
  /** For keys; a shard without it takes over none. */
  readonly vault?: KeyVault;
};

/**
 * A shard is deaf if more than this share of the datagrams that arrive during a suspicion is dropped unread. At this
 * share and two retries, one living peer in ten thousand would still seem dead.
 */
const DEAF_SHARE = 0.01;

export class Shard {
  readonly #io: ShardIo;
  readonly #machine: Machine;
  readonly #sessions = new SessionTable();
  readonly #exchanges: Exchanges;
  readonly #ids: IdUncertainty;
  readonly #keys: KeyKeeper;
  readonly #intake: Intake;
  readonly #checkpoint: CheckpointWriter;
  readonly #path: ProbePath;
  readonly #buffers = new SendBuffers();
  readonly #front: Front;
  #headend = false;
  /** Datagrams read since {@link dropped} was called last. */
  #received = 0;
  readonly #unread = new UnreadShare();
  readonly #outbox: Outbox;
  readonly #count = {
    probesSent: 0,
    retransmissions: 0,
    probesAnswered: 0,
    probesDelegated: 0,
    sendErrors: 0,
    evidenceHeard: 0,
    evidenceSent: 0,
    evidenceUnknown: 0,
    repliesMalformed: 0,
    repliesUnknownSa: 0,
    repliesForged: 0,
    repliesReplayed: 0,
    repliesUnread: 0,
  };

  constructor(io: ShardIo) {
    this.#io = io;
    this.#outbox = new Outbox((message) => io.post(message));
    this.#machine = new Machine(io.now(), 1024, {
      probe: (handle, attempt, last) => this.#probe(handle, attempt, last),
      probeOn: (handle, unsent, last) => this.#probeOn(handle, unsent, last),
      ...(io.pacer && { mayGoOn: () => io.pacer!.open }),
      wayFailed: (way, fromMs, toMs) => this.#path.failed(way, fromMs, toMs),
      deafSince: (fromMs) => this.#unread.since(fromMs) > DEAF_SHARE,
      verdict: (handle, earliestMs) => this.#verdict(handle, earliestMs),
      recovered: (handle, firstMs, attempts, was) =>
        this.#outbox.recovered({
          handle,
          firstProbeUnix: this.#unix(firstMs),
          attempts,
          wasDead: was === State.DEAD || was === State.HELD,
        }),
      traced: (handle, event, value) => {
        const why = event === Traced.BLOCKED ? this.#whyBlocked(handle) : '';
        this.#outbox.traced({ handle, event, value, atUnix: this.#io.wall(), why });
      },
    });
    this.#exchanges = new Exchanges(this.#sessions, io.fillRandom);
    this.#ids = new IdUncertainty(this.#sessions);
    this.#keys = new KeyKeeper(this.#sessions, io.vault);
    this.#intake = new Intake(this.#keys);
    this.#checkpoint = new CheckpointWriter(io.now());
    this.#front = this.#newFront();
    const first = Buffer.alloc(4);
    io.fillRandom(first, 0, first.length);
    this.#path = new ProbePath(
      {
        interlock: this.#machine.interlock,
        shard: io.shard,
        first: first.readUInt32BE(),
        send: (message, address, port) => io.send(message, address, port, -1),
        missed: (sinceMs) => this.#missed(sinceMs),
        changed: () => this.#machine.waysChanged(),
      },
      io.now(),
    );
  }

  /** Sends requests of the headend's daemon. */
  #newFront(): Front {
    return new Front({
      sessions: this.#sessions,
      fillRandom: this.#io.fillRandom,
      now: () => this.#io.now(),
      guarded: () => this.#path.guarded,
      opened: (handle) => this.#sessions.is(handle, SessionFlag.KEYED) && this.#keys.opened(handle),
      mayAsk: (handle) =>
        this.#machine.isProven(handle) && this.#machine.mayAsk(handle, this.#io.now()) && this.#idIsFree(handle),
      askSoon: (handle) => this.#machine.askSoon(handle),
      note: (handle, daemonId, id) => {
        this.#checkpoint.touch(handle);
        this.#io.post({ type: 'translating', handle, daemonId, id });
      },
      toSpoke: (handle, message) => this.#sendOn(handle, message),
      toDaemon: (handle, message, address, port) => this.#handOver(handle, message, address, port),
      heard: (handle) => this.#machine.heard(handle, this.#io.now()),
    });
  }

  /** Runs what is due, then posts the results to the main thread. Call every few ms. */
  tick(): void {
    const now = this.#io.now();
    this.#io.pacer?.fill(now);
    this.#machine.advance(now);
    this.#path.tick(now);
    this.#front.tick(now);
    if (this.#keys.hasSealed) this.#keys.openSome();
    this.#outbox.flush(now, this.#machine.counters.outcomes);
    this.#abandon({ unreadable: this.#keys.drainUnreadable() });
  }

  /** Nothing will be due before this moment, ms: a simulator need not call {@link tick} until then. */
  get idleUntilMs(): number {
    if (this.#keys.hasSealed) return this.#io.now();
    return Math.min(this.#machine.idleUntilMs, this.#path.idleUntilMs, this.#front.idleUntilMs);
  }

  /** Whether some peers were asked and have not answered yet. */
  get suspects(): boolean {
    return this.#machine.peers.population[State.PROBING]! > 0;
  }

  /** A datagram arrived at the probe socket. */
  receive(arrived: Buffer, sender: Sender): void {
    this.#received++;
    const datagram = this.#path.received(arrived, sender.port);
    if (isCanary(datagram)) {
      this.#path.home(datagram, sender);
      return;
    }
    const exchange = this.#exchanges.speaking(datagram);
    const reply = exchange?.receive(datagram) ?? Reply.MALFORMED;
    if (reply === Reply.ALIVE) this.#answered(exchange!.handle);
    else if (exchange === this.#exchanges.ikev1) this.#receiveOtherV1(datagram, sender, reply);
    else if (reply === Reply.FORGED) this.#count.repliesForged++;
    else this.#receiveOther(datagram, sender, reply);
  }

  /** A datagram that answers no probe may belong to the headend's daemon. */
  #receiveOther(datagram: Buffer, sender: Sender, asProbe: Reply): void {
    const reply = this.#front.receive(datagram, sender);
    if (reply === Reply.ALIVE) this.#answered(this.#front.handle);
    else if (reply === Reply.TAKEN) return;
    else if (reply === Reply.FORGED) this.#count.repliesForged++;
    else if (asProbe === Reply.MALFORMED) this.#count.repliesMalformed++;
    else if (asProbe === Reply.UNKNOWN_SA) this.#count.repliesUnknownSa++;
    else this.#count.repliesReplayed++;
  }

  /** IKEv1's Informationals all come here. Those that answer no probe are the daemon's, which judges them itself. */
  #receiveOtherV1(datagram: Buffer, sender: Sender, reply: Reply): void {
    const known = reply === Reply.REPLAYED || reply === Reply.FORGED;
    if (known && this.#front.handOver(this.#exchanges.ikev1.handle, datagram, sender)) return;
    if (reply === Reply.UNKNOWN_SA && isInformationalV1(datagram) && this.#front.handOver(-1, datagram, sender)) return;
    if (reply === Reply.MALFORMED) this.#count.repliesMalformed++;
    else if (reply === Reply.UNKNOWN_SA) this.#count.repliesUnknownSa++;
    else if (reply === Reply.REPLAYED) this.#count.repliesReplayed++;
    else this.#count.repliesForged++;
  }

  #answered(handle: number): void {
    this.#count.probesAnswered++;
    this.#checkpoint.touch(handle);
    this.#machine.answered(handle, this.#io.now());
    this.#front.turn(handle);
  }

  /** Takes the number of datagrams that were dropped unread since the last call. Call now and then, also with 0. */
  dropped(count: number): void {
    this.#unread.note(this.#io.now(), this.#received, count);
    this.#count.repliesUnread += count;
    this.#received = 0;
  }

  /** A probe handed to {@link ShardIo.send} did not leave after all. */
  sendFailed(handle: number): void {
    // A canary that the headend's rules have noted is dropped there, and the kernel says so.
    if (handle < 0) return;
    this.#count.sendErrors++;
    if (this.#machine.has(handle)) this.#machine.sendFailed(handle);
  }

  /** Does what the main thread asks. `stop` and `vaultKeys` are the caller's business. */
  handle(message: ToShard): void {
    switch (message.type) {
      case 'upsert':
        this.#abandon(this.#intake.register(message.page, this.#enter));
        break;
      case 'takeOver':
        this.#takeOver(message.former);
        break;
      case 'resume':
        this.#answer(message.request, this.#intake.resume(message.page, this.#enter));
        break;
      case 'remove':
        this.#answer(
          message.request,
          message.handles.map((handle) => this.#remove(handle)),
        );
        break;
      case 'evidence':
        this.#evidence(message.heard, message.sent, message.atMs);
        break;
      case 'delegated':
        message.handles.forEach((handle, n) => this.#delegatedAnswer(handle, message.probeIds[n]!));
        break;
      case 'path':
        this.#setPath(message.path);
        break;
      case 'headend':
        this.#setHeadend(message.present);
        break;
      case 'voucher':
        this.#path.vouch(message.canary);
        break;
      case 'noted':
        this.#front.noted(message.handle, message.daemonId);
        break;
      case 'hold':
        for (const handle of message.handles) this.#machine.hold(handle);
        break;
      case 'endHold':
        for (const handle of message.handles) this.#machine.endHold(handle, message.asked);
        break;
      case 'clear':
        this.#answer(message.request, { cleared: this.#clear(message.handles, message.action) });
        break;
      case 'trace':
        for (const handle of message.handles) if (this.#machine.has(handle)) this.#machine.trace(handle, message.on);
        break;
      case 'wholeCheckpoint':
        this.#answer(message.request, this.checkpoint(true));
        break;
      case 'seal':
        this.#answer(message.request, this.#keys.seal(message.keys));
        break;
      case 'sealedKeys':
        this.#answer(
          message.request,
          message.handles.map((handle) => this.#keys.sealHeld(handle)),
        );
        break;
      case 'query':
        this.#answer(
          message.request,
          message.handles.map((handle) => this.#status(handle)),
        );
        break;
      case 'inventory':
        this.#answer(message.request, {
          nextMids: Uint32Array.from(message.handles, (handle) => this.#lowestMid(handle)),
          unparked: message.handles.flatMap((handle, n) => (this.#sessions.is(handle, SessionFlag.PARKED) ? [] : [n])),
        });
        break;
      case 'counters':
        this.#answer(message.request, this.counters());
        break;
      case 'roundTrips':
        this.#answer(message.request, this.#machine.peers.roundTrips.counts());
        break;
      case 'checkpoint':
        this.#answer(message.request, this.checkpoint(false));
        break;
      case 'vaultKeys':
      case 'stop':
        break;
    }
  }

  /** Wipes all keys: the shard has ended. */
  wipe(): void {
    this.#sessions.wipe();
  }

  /** Part of the changes since the last call, or everything. It covers no time in which another owner may have asked. */
  checkpoint(whole: boolean): CheckpointPart {
    const { peers } = this.#machine;
    const { chunks, asOfMs } = this.#checkpoint.collect(this.#sessions, peers, this.#unix(0), this.#io.now(), whole);
    return { chunks, asOfMs: Math.min(asOfMs, this.#path.ownedAtMs) };
  }

  counters(): ThreadCounts {
    const { population } = this.#machine.peers;
    const { suppressed, blocked, verdicts, blinded } = this.#machine.counters;
    return {
      ...this.#count,
      ...this.#path.count,
      ...this.#front.count,
      peers: population.reduce((sum, count) => sum + count, 0),
      alive: population[State.ALIVE]!,
      probing: population[State.PROBING]!,
      quiet: population[State.QUIET]!,
      blocked: population[State.BLOCKED]!,
      dead: population[State.DEAD]!,
      unwatched: population[State.UNWATCHED]!,
      held: population[State.HELD]!,
      unproven: population[State.UNPROVEN]!,
      suspicionsUnproven: this.#machine.counters.unproven,
      probesOneWay: this.#machine.counters.oneWay,
      suspicionsMuted: this.#machine.counters.muted,
      verdictsTold: this.#machine.counters.told,
      deadReturned: this.#machine.counters.returned,
      pathVouched: this.#machine.interlock.anyVouched(this.#io.now()) ? 1 : 0,
      probesSuppressed: suppressed,
      probesBlocked: blocked,
      verdicts,
      suspicionsBlinded: blinded,
      behindMs: Math.round(this.#machine.behindMs),
    };
  }

  /** The former owner's checkpoint names a moment: since then another owner may have asked. */
  #takeOver(former: FormerOwners | undefined): void {
    this.#intake.takeOver(former);
    if (former) this.#path.takeOver(this.#io.now() - former.ageMs);
  }

  readonly #enter = (sa: ShardSa): void => {
    const { handle, parked, policy } = sa;
    // This must come before any SA of it is entered.
    if (!this.#machine.policies.takes(policy)) throw new RangeError('too many policies in one shard');
    const gated = sa.keys !== undefined;
    const ready = parked || !this.#path.guarded;
    const way = this.#path.numbers.of(sa);
    this.#checkpoint.touch(handle);
    if (this.#sessions.is(handle, SessionFlag.USED)) {
      const moved = this.#sessions.relocate(handle, sa.address, sa.port);
      this.#sessions.setParked(handle, parked);
      if (sa.keys) this.#sessions.setKeys(handle, sa.keys);
      this.#machine.update(handle, policy, this.#sessions.is(handle, SessionFlag.KEYED), ready);
      this.#mute(sa);
      if (moved || way !== this.#machine.peers.way[handle]) this.#machine.moved(handle, way);
      return;
    }
    this.#sessions.add(sa);
    this.#sessions.setParked(handle, parked);
    if (sa.translated) this.#front.restore(handle, sa.translated.daemonId, sa.translated.id);
    if (sa.ikev1 && sa.resumed) {
      this.#sessions.uncertainty[handle] = sa.possibleIds - 1;
      this.#exchanges.ikev1.skip(handle, 0);
    } else if (gated && sa.possibleIds > 1) this.#ids.set(handle, sa.possibleIds);
    const { firstAskMs, site, proven } = sa;
    this.#machine.add(handle, policy, this.#io.now() - sa.heardAgeMs, {
      gated,
      ready,
      firstAskMs,
      site,
      way,
      proven,
    });
    this.#mute(sa);
    if (sa.dead) this.#machine.restoreDead(handle);
    else if (sa.translated) this.#machine.askSoon(handle);
  };

  /** Tells the machine the end of a mute on its clock. */
  #mute({ handle, muteUntilUnixMs }: ShardSa): void {
    this.#machine.mute(handle, muteUntilUnixMs === 0 ? 0 : muteUntilUnixMs - this.#unix(0));
  }

  #remove(handle: number): number {
    if (!this.#sessions.is(handle, SessionFlag.USED)) return NO_MID;
    const mid = this.#likelyMid(handle);
    this.#machine.remove(handle);
    this.#sessions.remove(handle);
    this.#front.forget(handle);
    this.#keys.forget(handle);
    this.#checkpoint.touch(handle);
    return mid;
  }

  /** The lowest id that may be the next one: a search for it goes mostly upwards. */
  #lowestMid(handle: number): number {
    return this.#sessions.is(handle, SessionFlag.USED | SessionFlag.KEYED) ? this.#sessions.nextMid[handle]! : NO_MID;
  }

  /**
   * The id that the headend may go on with; after a takeover it is known only when the peer has answered. If two ids may be next
   * after an answer, it is the lower one: the higher one was tried before, and not answered.
   */
  #likelyMid(handle: number): number {
    const sessions = this.#sessions;
    if (!sessions.is(handle, SessionFlag.USED | SessionFlag.KEYED)) return NO_MID;
    const possible = this.#ids.possibleIds(handle);
    if (possible === 1) return this.#freshMid(handle);
    return possible === 2 && sessions.answered[handle]! > 0 && !sessions.busy(handle)
      ? sessions.nextMid[handle]!
      : NO_MID;
  }

  /** First id that no request of ours has used. */
  #freshMid(handle: number): number {
    const { nextMid, uncertainty } = this.#sessions;
    return this.#sessions.busy(handle) ? nextMid[handle]! + uncertainty[handle]! + 1 : nextMid[handle]!;
  }

  #evidence(heard: Uint32Array, sent: Uint32Array, atMs: number): void {
    const machine = this.#machine;
    for (let n = 0; n < heard.length; n++) {
      const handle = heard[n]!;
      if (machine.has(handle)) {
        machine.heard(handle, atMs);
        this.#checkpoint.touch(handle);
      } else this.#count.evidenceUnknown++;
    }
    for (let n = 0; n < sent.length; n++) {
      const handle = sent[n]!;
      if (machine.has(handle)) machine.sent(handle, atMs);
      else this.#count.evidenceUnknown++;
    }
    this.#count.evidenceHeard += heard.length;
    this.#count.evidenceSent += sent.length;
  }

  /**
   * A canary has come home, the first since that moment: another owner may have asked meanwhile, and received evidence. SAs that their
   * headend registered here and that were not probed yet cannot have had another owner.
   */
  #missed(sinceMs: number): void {
    const { peers, policies } = this.#machine;
    const now = this.#io.now();
    for (let handle = 0; handle < this.#machine.peers.capacity; handle++) {
      if (!this.#machine.has(handle)) continue;
      const asked = this.#sessions.sent[handle]! > 0 || this.#sessions.is(handle, SessionFlag.RESUMED);
      if (!asked) continue;
      this.#checkpoint.touch(handle);
      if (this.#sessions.is(handle, SessionFlag.IKEV1 | SessionFlag.KEYED))
        this.#exchanges.ikev1.skip(handle, now - sinceMs);
      else if (this.#sessions.is(handle, SessionFlag.KEYED))
        this.#idsMissed(handle, policies.at(peers.policy[handle]!), now - sinceMs);
      this.#machine.excuse(handle, now);
    }
  }

  #idsMissed(handle: number, policy: Plan, gapMs: number): void {
    const { peers } = this.#machine;
    const outstanding = this.#sessions.busy(handle);
    // The row of a peer taken over says when it may have been probed first.
    const fresh = (peers.flags[handle]! & Flag.FRESH) !== 0 && !this.#sessions.is(handle, SessionFlag.RESUMED);
    const heardAgeMs = this.#io.now() - peers.heardAt[handle]!;
    const possible = this.#ids.possibleIds(handle);
    const after = possibleIdsAfter(possible, { outstanding, fresh }, policy, heardAgeMs, gapMs);
    if (after > possible) {
      this.#ids.set(handle, after);
      this.#front.suspend(handle);
    }
    // One probe cannot try all of the ids, so silence would prove nothing.
    if (!this.#ids.askable(handle)) this.#machine.unprove(handle);
  }

  /** Peers that cannot be probed any more. It is better not to watch them than to kill them: the main thread removes them. */
  #abandon(abandoned: Abandoned): void {
    if (abandoned.unreadable.length === 0) return;
    const { peers } = this.#machine;
    for (const handle of abandoned.unreadable) {
      if (!this.#machine.has(handle)) continue;
      const ready = (peers.flags[handle]! & Flag.READY) !== 0;
      this.#machine.update(handle, UNWATCHED, true, ready);
    }
    this.#io.post({ type: 'abandoned', ...abandoned });
  }

  #setPath(path: ShardPath): void {
    const { guarded } = this.#path;
    this.#path.set(path);
    if (path.guarded === guarded) return;
    for (let handle = 0; handle < this.#machine.peers.capacity; handle++)
      if (this.#machine.has(handle))
        this.#machine.setReady(handle, !path.guarded || this.#sessions.is(handle, SessionFlag.PARKED));
  }

  /**
   * A delegated probe under way when the stream breaks may never have been run, so it does not count against the peer.
   */
  #setHeadend(present: boolean): void {
    this.#headend = present;
    if (present) {
      this.#path.headendIsBack(this.#io.now());
      return;
    }
    for (let handle = 0; handle < this.#machine.peers.capacity; handle++)
      if (this.#machine.has(handle) && !this.#sessions.is(handle, SessionFlag.KEYED)) this.#machine.sendFailed(handle);
  }

  /** Sends the highest possible id; the others follow by {@link #probeOn}. */
  #probe(handle: number, attempt: number, last: boolean): number {
    if (!this.#sessions.is(handle, SessionFlag.KEYED)) {
      if (!this.#headend) return -1;
      this.#outbox.delegated(handle, this.#sessions.nextMid[handle]!);
      this.#count.probesDelegated++;
      return 0;
    }
    if (!this.#keys.opened(handle)) return -1;
    if (this.#sessions.is(handle, SessionFlag.IKEV1)) return this.#probeV1(handle, last);
    if (this.#sessions.is(handle, SessionFlag.TRANSLATED)) {
      this.#machine.repeated(handle);
      if (!last) return this.#front.repeat(handle) ? 0 : -1;
      // Before a peer is judged, neighbouring ids are tried, too, in case its id is not the one that we know.
      this.#front.suspend(handle);
    }
    const again = this.#exchanges.of(handle).begin(handle) || attempt > 1;
    if (again) this.#machine.repeated(handle);
    if (this.#front.askAlone(handle)) return this.#send(handle, 0) ? 0 : -1;
    const proven = this.#machine.isProven(handle);
    if (again && proven && (attempt > 1 || last)) this.#ids.widen(handle);
    if (again && proven && last) this.#ids.neighbours(handle);
    if (again && !proven && (attempt === 1 || last)) this.#ids.search(handle);
    this.#ids.next(handle, proven);
    const unsent = this.#ids.count(handle, proven) - 1;
    if (again) this.#count.retransmissions++;
    this.#checkpoint.touch(handle);
    return this.#probeOn(handle, unsent, last) ? unsent : -1;
  }

  /** Of IKEv1: the next number. Before a peer is judged it gets the first one again, too, in case it waits for just that. */
  #probeV1(handle: number, last: boolean): number {
    const { ikev1 } = this.#exchanges;
    const again = ikev1.begin(handle);
    if (again) this.#count.retransmissions++;
    this.#checkpoint.touch(handle);
    if (again && last && !this.#send(handle, 0)) return -1;
    if (!this.#send(handle, ikev1.offset(handle))) return -1;
    if (last) this.#path.wantCanary();
    return 0;
  }

  /** Sends the possible id below those already sent; `unsent` more ids are lower still. */
  #probeOn(handle: number, unsent: number, last: boolean): boolean {
    // The peer answered meanwhile, or its next id is not known any more.
    if (!this.#sessions.is(handle, SessionFlag.OUTSTANDING)) return false;
    if (!this.#send(handle, this.#ids.offset(handle, this.#machine.isProven(handle)) + unsent)) return false;
    if (last && unsent === 0) this.#path.wantCanary();
    return true;
  }

  #send(handle: number, offset: number): boolean {
    const exchange = this.#exchanges.of(handle);
    const message = this.#buffers.next(exchange.length(handle));
    exchange.write(handle, offset, message);
    return this.#leave(handle, message);
  }

  #leave(handle: number, message: Buffer): boolean {
    const { address, port, sent } = this.#sessions;
    const leaving = this.#path.toSpoke(this.#machine.peers.way[handle]!, message);
    if (!this.#io.send(leaving, address.get(handle), port[handle]!, handle)) {
      this.#count.sendErrors++;
      return false;
    }
    this.#io.pacer?.spend();
    sent[handle]!++;
    this.#count.probesSent++;
    return true;
  }

  /** Whether the next id of an SA is known, and not in use. */
  #idIsFree(handle: number): boolean {
    return this.#sessions.uncertainty[handle] === 0 && !this.#sessions.busy(handle);
  }

  /** Sends a request of the headend's daemon to its spoke, like a probe. If no canary came home, another owner may have asked meanwhile. */
  #sendOn(handle: number, message: Buffer): boolean {
    if (!this.#machine.mayAsk(handle, this.#io.now())) return false;
    return this.#leave(handle, Buffer.from(message));
  }

  /** To the headend's daemon, as if it came from there. */
  #handOver(handle: number, message: Buffer, from: Address, port: number): boolean {
    const way = handle < 0 ? undefined : this.#machine.peers.way[handle]!;
    const leaving = this.#path.toDaemon(way, Buffer.from(message));
    return leaving !== undefined && this.#io.send(leaving, from, port, -1);
  }

  /** A delegated probe's id is also the SA's next id here, so that a late answer to an older probe does not count. */
  #delegatedAnswer(handle: number, probeId: number): void {
    if (!this.#machine.has(handle) || this.#sessions.nextMid[handle] !== probeId) return;
    this.#sessions.nextMid[handle]!++;
    this.#sessions.answered[handle]!++;
    this.#count.probesAnswered++;
    this.#machine.answered(handle, this.#io.now());
    this.#checkpoint.touch(handle);
  }

  /** An operator has SAs deleted. Returns how many: those that are gone or have a verdict already are left out. */
  #clear(handles: readonly number[], action: number): number {
    const now = this.#io.now();
    const cleared = handles.filter((handle) => this.#machine.has(handle) && this.#machine.condemn(handle));
    for (const handle of cleared) this.#verdict(handle, now, action);
    return cleared.length;
  }

  #verdict(handle: number, earliestMs: number, asked = 0): void {
    const { heardAt, cycleAt, attempt, blindMs } = this.#machine.peers;
    const decidedUnix = this.#io.wall();
    const epochMs = decidedUnix - this.#io.now();
    this.#outbox.verdict({
      handle,
      lastEvidenceUnix: epochMs + heardAt[handle]!,
      firstProbeUnix: epochMs + cycleAt[handle]!,
      probesSent: attempt[handle]!,
      earliestUnix: epochMs + earliestMs,
      decidedUnix,
      blindMs: blindMs[handle]!,
      asked,
    });
  }

  /** Why a peer's probe may not leave, as things are now. */
  #whyBlocked(handle: number): string {
    const { flags, way } = this.#machine.peers;
    if (!this.#sessions.is(handle, SessionFlag.KEYED)) return this.#headend ? '' : 'its headend is not connected';
    if ((flags[handle]! & Flag.READY) === 0) return 'the headend has not parked the SA';
    if (!this.#machine.interlock.vouched(way[handle]!, this.#io.now()))
      return 'no canary came home: the path is not proven';
    return 'the probe could not leave, or its way failed meanwhile';
  }

  #status(handle: number): PeerStatus {
    const { state, heardAt } = this.#machine.peers;
    if (!this.#machine.has(handle))
      return {
        state: State.FREE,
        lastEvidenceAgeMs: 0,
        probesSent: 0,
        probesAnswered: 0,
        nextMid: NO_MID,
        keyed: false,
        proven: false,
        blockedReason: '',
        roundTrip: NO_ROUND_TRIP,
      };
    const { sent, answered } = this.#sessions;
    return {
      state: state[handle]! as State,
      lastEvidenceAgeMs: this.#io.now() - heardAt[handle]!,
      probesSent: sent[handle]!,
      probesAnswered: answered[handle]!,
      nextMid: this.#freshMid(handle),
      keyed: this.#sessions.is(handle, SessionFlag.KEYED),
      proven: this.#machine.isProven(handle),
      blockedReason: state[handle] === State.BLOCKED ? this.#whyBlocked(handle) : '',
      roundTrip: this.#machine.peers.roundTrips.of(handle),
    };
  }

  #answer(request: number, body: Extract<FromShard, { type: 'answer' }>['body']): void {
    this.#io.post({ type: 'answer', request, body });
  }

  #unix(ms: number): number {
    return this.#io.wall() - this.#io.now() + ms;
  }
}
