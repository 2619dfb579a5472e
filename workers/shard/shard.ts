/**
 * A shard: the liveness machine joined to the IKE wire. Given a clock and three ways out (datagrams, messages to the
 * main thread, random bytes), so that a thread and a simulator run the same code.
 */

import { Liveness, Reply } from '../ikev2/exchange.ts';
import { type FillRandom, SessionFlag, SessionTable } from '../ikev2/sessions.ts';
import { KeyKeeper, type KeyVault } from '../keys/key-keeper.ts';
import { Machine } from '../liveness/machine.ts';
import { Flag, roomFor, State, widen } from '../liveness/peers.ts';
import { leastSpacingMs, unwatched } from '../liveness/policy.ts';
import { type SENDS_IN_FLIGHT, SendBuffers } from '../net/send-buffers.ts';
import { UnreadShare } from '../net/unread-share.ts';
import { ProbePath } from '../path/probe-path.ts';
import { CheckpointWriter } from '../takeover/checkpoint.ts';
import { Intake, type ShardSa } from './intake.ts';
import { Outbox } from './outbox.ts';
import type { Pacer } from './pacer.ts';
import {
  type Abandoned,
  type CheckpointPart,
  type FromShard,
  NO_MID,
  type PeerStatus,
  type ShardCounters,
  type ShardPath,
  type ToShard,
} from './protocol.ts';

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
  send(message: Buffer, address: number, port: number, handle: number): boolean;
  post(message: FromShard): void;
  /** What probes are paced by; shared by the shards of a thread. Without one there is no limit. */
  readonly pacer?: Pacer;
  /** For keys; a shard without it takes over none. */
  readonly vault?: KeyVault;
};

/**
 * A shard that does not get to read more than this share of what arrives during a suspicion is deaf: with two retries one
 * living peer in ten thousand would still seem dead at it.
 */
const DEAF_SHARE = 0.01;

export class Shard {
  readonly #io: ShardIo;
  readonly #machine: Machine;
  readonly #sessions = new SessionTable();
  readonly #liveness: Liveness;
  readonly #keys: KeyKeeper;
  readonly #intake: Intake;
  readonly #checkpoint: CheckpointWriter;
  readonly #path: ProbePath;
  readonly #buffers = new SendBuffers();
  #parked = new Uint8Array(0);
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
      pathFailed: (fromMs, toMs) => this.#path.failed(fromMs, toMs),
      deafSince: (fromMs) => this.#unread.since(fromMs) > DEAF_SHARE,
      verdict: (handle, earliestMs) => this.#verdict(handle, earliestMs),
      recovered: (handle, firstMs, attempts, was) =>
        this.#outbox.recovered({
          handle,
          firstProbeUnix: this.#unix(firstMs),
          attempts,
          wasDead: was === State.DEAD || was === State.HELD,
        }),
    });
    this.#liveness = new Liveness(this.#sessions, io.fillRandom);
    this.#keys = new KeyKeeper(this.#sessions, io.vault);
    this.#intake = new Intake(this.#keys);
    this.#checkpoint = new CheckpointWriter(io.now());
    const first = Buffer.alloc(4);
    io.fillRandom(first, 0, first.length);
    this.#path = new ProbePath(this.#machine.interlock, first.readUInt32BE(), (message, address, port) =>
      io.send(message, address, port, -1),
    );
  }

  /** Runs what is due, then tells the main thread what came of it. Call every few ms. */
  tick(): void {
    const now = this.#io.now();
    this.#io.pacer?.fill(now);
    this.#machine.advance(now);
    this.#path.tick(now);
    if (this.#keys.hasSealed) this.#keys.openSome();
    this.#outbox.flush(now, this.#machine.counters.outcomes);
    const unreadable = this.#keys.takeUnreadable();
    if (unreadable.length > 0) this.#abandon({ unreadable, lost: [] });
  }

  /** Nothing will be due before this moment, ms: a simulator need not call {@link tick} until then. */
  get idleUntilMs(): number {
    if (this.#keys.hasSealed) return this.#io.now();
    return Math.min(this.#machine.idleUntilMs, this.#path.idleUntilMs);
  }

  /** A datagram arrived at the probe socket. */
  receive(datagram: Buffer): void {
    this.#received++;
    const reply = this.#liveness.receive(datagram);
    const { handle } = this.#liveness;
    if (reply === Reply.ALIVE) {
      this.#count.probesAnswered++;
      this.#checkpoint.touch(handle);
      this.#machine.answered(handle, this.#io.now());
    } else if (reply === Reply.MALFORMED) this.#count.repliesMalformed++;
    else if (reply === Reply.UNKNOWN_SA) this.#count.repliesUnknownSa++;
    else if (reply === Reply.FORGED) this.#count.repliesForged++;
    else this.#count.repliesReplayed++;
  }

  /** So many datagrams were dropped unread since this was called last: call now and then, with 0 too. */
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

  /** Does what the main thread asks. `stop` is the caller's business. */
  handle(message: ToShard): void {
    switch (message.type) {
      case 'upsert':
        this.#intake.register(message.page, this.#take);
        break;
      case 'takeOver':
        this.#intake.takeOver(message.former);
        break;
      case 'resume':
        this.#answer(message.request, this.#intake.resume(message.page, this.#take));
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
      case 'lease':
        this.#path.own(message);
        break;
      case 'doubt':
        this.#doubt(message.missedMs);
        break;
      case 'hold':
        for (const handle of message.handles) this.#machine.hold(handle);
        break;
      case 'endHold':
        for (const handle of message.handles) this.#machine.endHold(handle, message.drop);
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
      case 'nextMids':
        this.#answer(
          message.request,
          Uint32Array.from(message.handles, (handle) => this.#nextMid(handle)),
        );
        break;
      case 'counters':
        this.#answer(message.request, this.counters());
        break;
      case 'checkpoint':
        this.#answer(message.request, this.checkpoint(false));
        break;
      case 'stop':
        break;
    }
  }

  /** Some of what changed since it was last asked for, or everything. */
  checkpoint(whole: boolean): CheckpointPart {
    return this.#checkpoint.collect(this.#sessions, this.#machine.peers, this.#unix(0), this.#io.now(), whole);
  }

  counters(): ShardCounters {
    const { population } = this.#machine.peers;
    const { suppressed, blocked, verdicts, blinded } = this.#machine.counters;
    return {
      ...this.#count,
      ...this.#path.count,
      peers: population.reduce((sum, count) => sum + count, 0),
      states: [...population],
      pathVouched: this.#machine.interlock.vouched(this.#io.now()),
      probesSuppressed: suppressed,
      probesBlocked: blocked,
      verdicts,
      suspicionsBlinded: blinded,
      behindMs: Math.round(this.#machine.behindMs),
    };
  }

  readonly #take = (sa: ShardSa): void => {
    const { handle, parked } = sa;
    const gated = sa.keys !== undefined;
    if (handle >= this.#parked.length) {
      this.#parked = widen(new Uint8Array(roomFor(handle + 1, this.#parked.length)), this.#parked);
    }
    this.#parked[handle] = parked ? 1 : 0;
    const ready = parked || !this.#path.guarded;
    this.#checkpoint.touch(handle);
    if (this.#sessions.is(handle, SessionFlag.USED)) {
      this.#sessions.relocate(handle, sa.address, sa.port);
      if (sa.keys) this.#sessions.setKeys(handle, sa.keys);
      const policy = this.#liveness.lost(handle) ? unwatched(sa.policy) : sa.policy;
      this.#machine.update(handle, policy, this.#sessions.is(handle, SessionFlag.KEYED), ready);
      return;
    }
    this.#sessions.add(sa);
    if (gated && sa.candidates > 1) this.#liveness.resync(handle, sa.candidates);
    this.#machine.add(handle, sa.policy, this.#io.now() - sa.heardAgeMs, {
      gated,
      ready,
      firstAskMs: sa.firstAskMs,
      site: sa.site,
    });
    if (sa.dead) this.#machine.restoreDead(handle);
  };

  #remove(handle: number): number {
    if (!this.#sessions.is(handle, SessionFlag.USED)) return NO_MID;
    const mid = this.#knownMid(handle);
    this.#machine.remove(handle);
    this.#sessions.remove(handle);
    this.#keys.forget(handle);
    this.#checkpoint.touch(handle);
    return mid;
  }

  #nextMid(handle: number): number {
    return this.#sessions.is(handle, SessionFlag.USED | SessionFlag.KEYED) ? this.#freshMid(handle) : NO_MID;
  }

  /** The id that the headend may go on with; after a takeover it is known only when the peer has answered. */
  #knownMid(handle: number): number {
    return this.#sessions.doubt[handle]! > 0 ? NO_MID : this.#nextMid(handle);
  }

  /** First id that no request of ours has carried. */
  #freshMid(handle: number): number {
    const { nextMid, doubt } = this.#sessions;
    const outstanding = this.#sessions.is(handle, SessionFlag.OUTSTANDING);
    return outstanding ? nextMid[handle]! + doubt[handle]! + 1 : nextMid[handle]!;
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
   * Another owner may have spoken with the peers meanwhile: their ids may be higher, and their evidence newer. He may have
   * asked at once, and then as often as the policy lets him; and what we had asked may have been answered.
   */
  #doubt(missedMs: number): void {
    const { peers, policies } = this.#machine;
    const lost: number[] = [];
    for (let handle = 0; handle < this.#parked.length; handle++) {
      if (!this.#machine.has(handle)) continue;
      const policy = policies.at(peers.policy[handle]!);
      this.#machine.heard(handle, this.#io.now());
      this.#checkpoint.touch(handle);
      if (!this.#sessions.is(handle, SessionFlag.KEYED) || policy.intervalMs === 0) continue;
      const exchanges = Math.floor(missedMs / leastSpacingMs(policy));
      this.#liveness.resync(handle, this.#liveness.candidates(handle) + 2 + exchanges);
      if (this.#liveness.lost(handle)) lost.push(handle);
    }
    if (lost.length > 0) this.#abandon({ unreadable: [], lost });
  }

  /** Peers that cannot be asked any more: better not watched than killed. The main thread removes them. */
  #abandon(abandoned: Abandoned): void {
    const { peers, policies } = this.#machine;
    for (const handle of [...abandoned.unreadable, ...abandoned.lost]) {
      const ready = (peers.flags[handle]! & Flag.READY) !== 0;
      this.#machine.update(handle, unwatched(policies.at(peers.policy[handle]!)), true, ready);
    }
    this.#io.post({ type: 'abandoned', ...abandoned });
  }

  #setPath(path: ShardPath): void {
    const { guarded } = this.#path;
    this.#path.set(path);
    if (path.guarded === guarded) return;
    for (let handle = 0; handle < this.#parked.length; handle++)
      if (this.#machine.has(handle)) this.#machine.setReady(handle, !path.guarded || this.#parked[handle] === 1);
  }

  /** A delegated probe under way when the stream breaks was perhaps never run: it is not held against the peer. */
  #setHeadend(present: boolean): void {
    this.#headend = present;
    if (present) return;
    for (let handle = 0; handle < this.#parked.length; handle++)
      if (this.#machine.has(handle) && !this.#sessions.is(handle, SessionFlag.KEYED)) this.#machine.sendFailed(handle);
  }

  /** Sends the highest candidate; the others follow by {@link #probeOn}. */
  #probe(handle: number, attempt: number, last: boolean): number {
    if (!this.#sessions.is(handle, SessionFlag.KEYED)) {
      if (!this.#headend) return -1;
      this.#outbox.delegated(handle, this.#sessions.nextMid[handle]!);
      this.#count.probesDelegated++;
      return 0;
    }
    if (!this.#keys.opened(handle)) return -1;
    const again = this.#liveness.begin(handle);
    if (again && (attempt > 1 || last)) this.#liveness.widen(handle);
    const unsent = this.#liveness.candidates(handle) - 1;
    if (again || attempt > 1) this.#count.retransmissions++;
    this.#checkpoint.touch(handle);
    return this.#probeOn(handle, unsent, last) ? unsent : -1;
  }

  /** Sends the candidate below those sent before it: `unsent` are still lower. */
  #probeOn(handle: number, unsent: number, last: boolean): boolean {
    if (!this.#send(handle, unsent)) return false;
    if (last && unsent === 0) this.#path.wantCanary();
    return true;
  }

  #send(handle: number, offset: number): boolean {
    const message = this.#buffers.next(this.#liveness.length(handle));
    this.#liveness.write(handle, offset, this.#path.guarded, message);
    const { address, port, sent } = this.#sessions;
    if (!this.#io.send(message, address[handle]!, port[handle]!, handle)) {
      this.#count.sendErrors++;
      return false;
    }
    this.#io.pacer?.spend();
    sent[handle]!++;
    this.#count.probesSent++;
    return true;
  }

  /** A delegated probe's id is the SA's next id here too, so that a late answer to an older probe counts for nothing. */
  #delegatedAnswer(handle: number, probeId: number): void {
    if (!this.#machine.has(handle) || this.#sessions.nextMid[handle] !== probeId) return;
    this.#sessions.nextMid[handle]!++;
    this.#sessions.answered[handle]!++;
    this.#count.probesAnswered++;
    this.#machine.answered(handle, this.#io.now());
    this.#checkpoint.touch(handle);
  }

  #verdict(handle: number, earliestMs: number): void {
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
    });
  }

  #status(handle: number): PeerStatus {
    const { state, heardAt, cycleAt } = this.#machine.peers;
    if (!this.#machine.has(handle))
      return {
        state: State.FREE,
        lastEvidenceAgeMs: 0,
        probesSent: 0,
        probesAnswered: 0,
        nextMid: NO_MID,
        keyed: false,
        proven: false,
      };
    const { sent, answered } = this.#sessions;
    return {
      state: state[handle]!,
      lastEvidenceAgeMs: this.#io.now() - heardAt[handle]!,
      probesSent: sent[handle]!,
      probesAnswered: answered[handle]!,
      nextMid: this.#freshMid(handle),
      keyed: this.#sessions.is(handle, SessionFlag.KEYED),
      // Before its first suspicion the cycle is anchored where the peer was added.
      proven: answered[handle]! > 0 || heardAt[handle]! > cycleAt[handle]!,
    };
  }

  #answer(request: number, body: Extract<FromShard, { type: 'answer' }>['body']): void {
    this.#io.post({ type: 'answer', request, body });
  }

  #unix(ms: number): number {
    return this.#io.wall() - this.#io.now() + ms;
  }
}
