/**
 * The liveness machine. Its inputs are time, evidence and answers; its outputs are probes and verdicts. It has no
 * clock, socket, store or random source inside, so a simulator can run it as a thread does.
 *
 * Timers are lazy: evidence is one store into a column, and a timer that fires looks at what was stored meanwhile.
 */

import { roomFor } from '../base/columns.ts';
import { Interlock, MAX_WAYS } from './interlock.ts';
import { Outcomes } from './outcomes.ts';
import { Flag, PeerTable, State } from './peers.ts';
import { firstMoment, recurringMoment } from './phase.ts';
import { Mode, type Plan, type Policy } from './policy.ts';
import { PolicyTable } from './policy-table.ts';
import { Traced } from './traced.ts';
import { type OnDue, TICK_MS, TimingWheel } from './wheel.ts';

/** What the machine needs from its surroundings. Called from within {@link Machine.advance}; must not throw. */
export type Effects = {
  /**
   * Send a probe. `attempt` counts from 1; above 1 it repeats the exchange under way. `last`: a verdict follows if this
   * probe is not answered either. Returns how many more messages of the probe must follow by {@link probeOn}; -1 if it
   * could not be sent.
   */
  probe(handle: number, attempt: number, last: boolean): number;
  /** Send the next message of a probe; so many more will follow it. Returns false if it could not be sent. */
  probeOn?(handle: number, unsent: number, last: boolean): boolean;
  /** Whether the way is known to have failed during this time, out or in: then silence proves nothing. */
  wayFailed?(way: number, fromMs: number, toMs: number): boolean;
  /** Whether answers may have been dropped here unread since that moment. */
  deafSince?(fromMs: number): boolean;
  /** Whether the budget for probes allows another now; asked before each timer that is due. */
  mayGoOn?(): boolean;
  /** The peer is dead. `earliestMs`: first moment the policy allowed this verdict. */
  verdict(handle: number, earliestMs: number): void;
  /**
   * A suspicion ended well after `attempts` probes, the first at `firstMs`. Called from two attempts on, and always
   * for a peer that had been declared dead, held back or not.
   */
  recovered(handle: number, firstMs: number, attempts: number, was: State): void;
  /** Something happened to a peer that someone looks at: see {@link Machine.trace}. */
  traced?(handle: number, event: Traced, value: number): void;
};

export type MachineCounters = {
  /** Timers that found fresh evidence instead of a peer to probe. */
  suppressed: number;
  /** Probes due that the interlock forbade. */
  blocked: number;
  verdicts: number;
  /** Suspicions to which blind time was given back. */
  blinded: number;
  /** Outcomes: peers that were heard in time or answered, and peers that left a probe unanswered. */
  outcomes: Outcomes;
  /** Suspicions that ended in silence of a peer that had never answered. */
  unproven: number;
  /** Peers that were heard from but did not answer: traffic comes in, and nothing gets out. */
  oneWay: number;
  /** Suspicions that ended in silence of a muted peer. */
  muted: number;
  /** Verdicts on peers whose SA stays. */
  told: number;
  /** Peers that came back after their verdict. */
  returned: number;
};

/** Share of a wait by which a timer may be late before the lost time is given back to the peer. */
const LATE_SHARE = 0.25;
/** How often a peer whose verdict waits for the path's voucher is looked at again, ms. */
const VOUCHER_RECHECK_MS = 10;
/** How often a blocked peer is looked at again, ms. */
const BLOCKED_RECHECK_MS = 250;
/** Distance between messages of one probe, ms: large enough that none overtakes another. */
const SPACING_MS = 50;
/** The first probe comes at a time spread by handle. */
export const SPREAD = -1;
/** Longest time between two probes of a peer whose verdict is held back, or that has never answered, ms. */
const RECHECK_MS = 30_000;

export class Machine {
  readonly peers: PeerTable;
  readonly policies = new PolicyTable();
  /** What gated probes wait for: see {@link Interlock}. */
  readonly interlock = new Interlock();
  readonly counters: MachineCounters = {
    suppressed: 0,
    blocked: 0,
    verdicts: 0,
    blinded: 0,
    outcomes: new Outcomes(),
    unproven: 0,
    oneWay: 0,
    muted: 0,
    told: 0,
    returned: 0,
  };
  readonly #wheel: TimingWheel;
  readonly #effects: Effects;
  readonly #onDue: OnDue;
  #now: number;
  /** Whether any peer has answered on a way since it last changed. */
  readonly #wayProven = new Uint8Array(MAX_WAYS);
  /** Until when peers are muted, ms: apart from policies, which are never forgotten. Usually there are none. */
  readonly #mutes = new Map<number, number>();
  /** For so long before now timers were not run and answers not read, ms. */
  #unseenMs = 0;

  constructor(nowMs: number, capacity: number, effects: Effects) {
    this.#now = nowMs;
    this.peers = new PeerTable(capacity);
    this.#wheel = new TimingWheel(nowMs, capacity);
    this.#effects = effects;
    this.#onDue = (handle, dueMs) => this.#due(handle, dueMs);
  }

  /**
   * Takes a peer into care.
   * @param heardAtMs last evidence; for a new SA the moment it was set up
   * @param gated probes need a vouched path
   * @param ready a gated peer may be probed
   * @param firstAskMs probe once early, after so long, unless evidence comes before: this tests keys and message id
   *   early, and a real suspicion begins only when the interval is over; {@link SPREAD}: at a time spread over the
   *   first interval by handle, so that peers added together are not asked together
   * @param site its site label as a number
   * @param way that its probes take
   * @param proven it has answered a former owner
   */
  add(
    handle: number,
    policy: Policy,
    heardAtMs: number,
    {
      gated = false,
      ready = true,
      firstAskMs,
      site = 0,
      way = 0,
      proven = false,
    }: {
      gated?: boolean;
      ready?: boolean;
      firstAskMs?: number | undefined;
      site?: number;
      way?: number;
      proven?: boolean;
    } = {},
  ): void {
    if (handle >= this.peers.capacity) this.#grow(handle + 1);
    const { peers } = this;
    peers.policy[handle] = this.policies.intern(policy);
    peers.site[handle] = site;
    peers.way[handle] = way;
    peers.blindMs[handle] = 0;
    this.#mutes.delete(handle);
    peers.roundTrips.clear(handle);
    peers.heardAt[handle] = heardAtMs;
    if (peers.sentAt.length > 0) peers.sentAt[handle] = Number.NEGATIVE_INFINITY;
    peers.probeAt[handle] = Number.NEGATIVE_INFINITY;
    peers.cycleAt[handle] = heardAtMs;
    peers.attempt[handle] = 0;
    const early = firstAskMs !== undefined;
    peers.flags[handle] =
      (gated ? Flag.GATED : 0) | (ready ? Flag.READY : 0) | (early ? Flag.FRESH : 0) | (proven ? Flag.PROVEN : 0);
    // A peer that had answered before had answered on this way.
    if (proven && way < MAX_WAYS) this.#wayProven[way] = 1;
    this.#watch(handle, policy);
    if (!early || peers.state[handle]! !== State.ALIVE) return;
    const spreadMs = firstMoment(handle, policy.intervalMs);
    this.#wheel.schedule(
      handle,
      this.#now + (firstAskMs === SPREAD ? spreadMs : Math.min(firstAskMs, policy.intervalMs)),
    );
  }

  /** Changes policy and interlock of a peer in care, keeping what is known of its liveness. */
  update(handle: number, policy: Policy, gated: boolean, ready: boolean): void {
    const { peers } = this;
    const kept = peers.flags[handle]! & ~(Flag.GATED | Flag.READY);
    peers.flags[handle] = (gated ? Flag.GATED : 0) | (ready ? Flag.READY : 0) | kept;
    const index = this.policies.intern(policy);
    if (index === peers.policy[handle]!) return;
    peers.policy[handle] = index;
    const state = peers.state[handle]!;
    // What is known of a peer that is not healthy stays known; a suspicion begins anew.
    const stays = state === State.DEAD || state === State.HELD || state === State.UNPROVEN || state === State.BLOCKED;
    if (stays && policy.mode !== Mode.DISABLED) {
      if (policy.mode === Mode.ON_DEMAND) peers.rememberSent();
      return;
    }
    this.#watch(handle, policy);
  }

  /** No verdict on the peer before this moment, ms; 0: not muted. */
  mute(handle: number, untilMs: number): void {
    if (untilMs > this.#now) this.#mutes.set(handle, untilMs);
    else this.#mutes.delete(handle);
  }

  /** Opens or closes the interlock of one gated peer. */
  setReady(handle: number, ready: boolean): void {
    if (ready) this.peers.flags[handle]! |= Flag.READY;
    else this.peers.flags[handle]! &= ~Flag.READY;
  }

  /** The peer has another address, or another way: it must answer again before it is judged. */
  moved(handle: number, way: number): void {
    this.peers.way[handle] = way;
    this.peers.roundTrips.clear(handle);
    this.unprove(handle);
  }

  /** The ways may have changed: some peer must answer on each before silence on it means something. */
  waysChanged(): void {
    this.#wayProven.fill(0);
  }

  /** The peer's next id is not known any more: it must answer again before it is judged. */
  unprove(handle: number): void {
    const { peers } = this;
    peers.flags[handle]! &= ~Flag.PROVEN;
    if (peers.state[handle]! !== State.QUIET) return;
    peers.enter(handle, State.ALIVE);
    this.#askAgain(handle);
  }

  /** Evidence of the peer may have come to another owner until now: its silence so far does not count. */
  excuse(handle: number, nowMs: number): void {
    const { peers } = this;
    peers.heardAt[handle] = Math.max(peers.heardAt[handle]!, nowMs);
    // This is no evidence that would spare the peer its first probe.
    if ((peers.flags[handle]! & Flag.FRESH) !== 0) peers.cycleAt[handle] = peers.heardAt[handle]!;
    if (peers.state[handle]! === State.PROBING) this.#block(handle);
  }

  /** A peer just added whose verdict was given before, by a former owner. */
  restoreDead(handle: number): void {
    this.#wheel.cancel(handle);
    this.#enterDead(handle);
  }

  /** The verdict just given is held back: the peer is still probed, and its answer takes the verdict back. */
  hold(handle: number): void {
    if (this.peers.state[handle]! !== State.DEAD) return;
    this.peers.enter(handle, State.HELD);
    this.#askOnce(handle);
  }

  /**
   * A verdict is not held back any longer. The peer is probed again, with all retries: only another verdict counts. With `asked`
   * the verdict stands, because an operator decided so.
   */
  endHold(handle: number, asked: boolean): void {
    if (this.peers.state[handle]! !== State.HELD) return;
    this.#wheel.cancel(handle);
    if (asked) {
      this.#enterDead(handle);
      return;
    }
    // Not at once: time may have passed since the machine last got the time.
    this.peers.flags[handle]! |= Flag.REASKED;
    this.#wheel.schedule(handle, this.#now);
  }

  /**
   * An operator has the peer's SA deleted, whether it lives or not. False if it has a verdict already.
   */
  condemn(handle: number): boolean {
    const { peers } = this;
    if (peers.state[handle]! === State.DEAD) return false;
    this.#wheel.cancel(handle);
    peers.enter(handle, State.DEAD);
    peers.flags[handle]! &= ~(Flag.REASKED | Flag.WANTED);
    return true;
  }

  /** From now on what happens to the peer is told, or not any more. */
  trace(handle: number, on: boolean): void {
    if (on) this.peers.flags[handle]! |= Flag.TRACED;
    else this.peers.flags[handle]! &= ~Flag.TRACED;
  }

  /** The request of the probe just sent had been sent before. */
  repeated(handle: number): void {
    this.peers.flags[handle]! |= Flag.REPEATED;
  }

  /** Lets a peer go. */
  remove(handle: number): void {
    this.#mutes.delete(handle);
    this.#wheel.cancel(handle);
    this.peers.enter(handle, State.FREE);
  }

  /** Whether the handle is in use. */
  has(handle: number): boolean {
    return handle < this.peers.capacity && this.peers.state[handle]! !== State.FREE;
  }

  /** Authenticated traffic from the peer at `atMs`. */
  heard(handle: number, atMs: number): void {
    const { peers } = this;
    if (atMs <= peers.heardAt[handle]!) return;
    peers.heardAt[handle] = atMs;
    const state = peers.state[handle]!;
    if (state === State.ALIVE || state === State.QUIET || state === State.UNWATCHED) return;
    const { intervalMs, retries, ends, asksDead, upCount } = this.#policy(handle);
    // So many answers are wanted, and traffic is none.
    if (state === State.DEAD && asksDead && upCount > 1) return;
    // Evidence from before the suspicion does not end it: it only moves the earliest moment of the verdict. A verdict already
    // given would not have been given.
    const lastsMs = state === State.DEAD ? intervalMs + ends[retries]! : intervalMs;
    if (atMs + lastsMs > this.#now) this.#recover(handle);
  }

  /** Traffic towards the peer at `atMs`. */
  sent(handle: number, atMs: number): void {
    const { peers } = this;
    // Only ON_DEMAND policies need this.
    if (peers.sentAt.length === 0 || atMs <= peers.sentAt[handle]!) return;
    peers.sentAt[handle] = atMs;
    if (peers.state[handle]! !== State.QUIET || atMs <= peers.heardAt[handle]!) return;
    peers.enter(handle, State.ALIVE);
    this.#wheel.schedule(handle, this.#firstProbeAt(handle));
  }

  /** The peer's answer to a probe, authenticated, arrived now. */
  answered(handle: number, nowMs: number): void {
    const { peers } = this;
    this.#timed(handle, nowMs);
    peers.heardAt[handle] = Math.max(peers.heardAt[handle]!, nowMs);
    peers.flags[handle]! = (peers.flags[handle]! | Flag.PROVEN) & ~Flag.PROVING;
    const way = peers.way[handle]!;
    if (way < MAX_WAYS) this.#wayProven[way] = 1;
    const state = peers.state[handle]!;
    if (state === State.DEAD && !this.#isBack(handle)) this.#wheel.schedule(handle, this.#answeredBy(handle));
    else if (state !== State.ALIVE && state !== State.QUIET && state !== State.UNWATCHED) this.#recover(handle);
    else if (peers.unsent[handle]! > 0) {
      // The answer also ends the messages that were still to be sent.
      peers.unsent[handle] = 0;
      this.#wheel.schedule(handle, this.#firstProbeAt(handle));
    }
  }

  /** Notes how long the answer took. Only probes of a suspicion count, and only once it is known that the peer answers probes. */
  #timed(handle: number, nowMs: number): void {
    const { flags, state, attempt, unsent, probeAt, roundTrips } = this.peers;
    if ((flags[handle]! & Flag.TRACED) !== 0) this.#effects.traced?.(handle, Traced.ANSWERED, nowMs - probeAt[handle]!);
    if (state[handle]! !== State.PROBING || attempt[handle]! === 0 || (flags[handle]! & Flag.PROVEN) === 0) return;
    roundTrips.answered(handle);
    const plain = attempt[handle]! === 1 && unsent[handle]! === 0 && (flags[handle]! & Flag.REPEATED) === 0;
    if (plain) roundTrips.sample(handle, nowMs - probeAt[handle]!);
  }

  /** Tells of a peer that someone looks at. */
  #tell(handle: number, event: Traced, value: number): void {
    if ((this.peers.flags[handle]! & Flag.TRACED) !== 0) this.#effects.traced?.(handle, event, value);
  }

  /** A probe was handed over but did not leave: silence after it proves nothing. */
  sendFailed(handle: number): void {
    if (this.peers.state[handle]! === State.PROBING) this.#block(handle);
  }

  /** The peer is probed once, soon, whatever its state: the answer is needed for another reason than liveness. */
  askSoon(handle: number): void {
    const { peers } = this;
    const state = peers.state[handle]!;
    if (state === State.QUIET) peers.enter(handle, State.ALIVE);
    else if (state !== State.ALIVE && state !== State.UNPROVEN) return;
    if (peers.unsent[handle]! > 0) return;
    peers.flags[handle]! |= Flag.WANTED;
    this.#wheel.schedule(handle, Math.max(this.#now, this.#answeredBy(handle)));
  }

  /** Whether the interlock lets this peer be asked. @param nowMs between two {@link advance} */
  mayAsk(handle: number, nowMs: number): boolean {
    const { flags, way } = this.peers;
    return this.interlock.mayProbe(flags[handle]!, way[handle]!, nowMs);
  }

  /** Nothing is due before this moment, ms. */
  get idleUntilMs(): number {
    return this.#wheel.idleUntilMs;
  }

  /** Moves time on and runs every timer due by `nowMs`, as far as the budget goes. */
  advance(nowMs: number): void {
    if (nowMs <= this.#now) return;
    this.#unseenMs = nowMs - this.#now;
    this.#now = nowMs;
    this.#wheel.advance(nowMs, this.#onDue, this.#effects.mayGoOn);
  }

  /** How late timers run because the budget for probes is spent, ms. */
  get behindMs(): number {
    return Math.max(0, this.#now - this.#wheel.atMs - TICK_MS);
  }

  #grow(needed: number): void {
    const capacity = roomFor(needed, this.peers.capacity);
    this.peers.grow(capacity);
    this.#wheel.grow(capacity);
  }

  #policy(handle: number): Plan {
    return this.policies.at(this.peers.policy[handle]!);
  }

  #watch(handle: number, policy: Policy): void {
    if (policy.mode === Mode.ON_DEMAND) this.peers.rememberSent();
    if (policy.mode === Mode.DISABLED) {
      this.#wheel.cancel(handle);
      this.peers.enter(handle, State.UNWATCHED);
      return;
    }
    this.#rest(handle);
    this.#wheel.schedule(handle, this.#firstProbeAt(handle));
  }

  /** When the next suspicion may begin. */
  #firstProbeAt(handle: number): number {
    const { mode, intervalMs, jitterPercent } = this.#policy(handle);
    const { heardAt, cycleAt, sentAt } = this.peers;
    const from = mode === Mode.PERIODIC ? cycleAt[handle]! : heardAt[handle]!;
    const at = recurringMoment(handle, from + intervalMs, (intervalMs * jitterPercent) / 100);
    return mode === Mode.ON_DEMAND ? Math.max(at, sentAt[handle]!) : at;
  }

  #due(handle: number, dueMs: number): void {
    const state = this.peers.state[handle]!;
    if (this.peers.unsent[handle]! > 0) this.#askOn(handle);
    else if (state === State.ALIVE) this.#dueAlive(handle);
    else if (state === State.PROBING) this.#dueProbing(handle, dueMs);
    else if (state === State.BLOCKED) this.#begin(handle, this.#now);
    else if (state === State.HELD && (this.peers.flags[handle]! & Flag.REASKED) !== 0) this.#begin(handle, this.#now);
    else if (state === State.HELD) {
      this.counters.outcomes.silent(this.peers.site[handle]!);
      this.#askOnce(handle);
    } else if (state === State.DEAD) this.#dueDead(handle);
    else if (state === State.UNPROVEN) {
      // A peer that was muted is judged only after another suspicion, with all retries.
      if (this.#proven(handle) && !this.#isMuted(handle)) this.#begin(handle, this.#now);
      else this.#askOnce(handle);
    }
  }

  #dueAlive(handle: number): void {
    const { peers } = this;
    if ((peers.flags[handle]! & Flag.WANTED) !== 0) {
      peers.flags[handle]! &= ~Flag.WANTED;
      this.#askOnce(handle);
      return;
    }
    const { mode, proveEveryMs } = this.#policy(handle);
    if (proveEveryMs > 0 && this.#proveAt(handle) <= this.#now) {
      this.#prove(handle);
      return;
    }
    if (mode === Mode.ON_DEMAND && peers.sentAt[handle]! <= peers.heardAt[handle]!) {
      if (this.isProven(handle)) peers.enter(handle, State.QUIET);
      else this.#askOnce(handle);
      return;
    }
    const at = this.#firstProbeAt(handle);
    const fresh = (peers.flags[handle]! & Flag.FRESH) !== 0 && peers.heardAt[handle]! <= peers.cycleAt[handle]!;
    peers.flags[handle]! &= ~Flag.FRESH;
    if (fresh) this.#begin(handle, Math.min(at, this.#now));
    else if (at > this.#now) {
      this.counters.suppressed++;
      this.#tell(handle, Traced.SUPPRESSED, this.#now - peers.heardAt[handle]!);
      this.counters.outcomes.well(peers.site[handle]!);
      // Traffic proves that the peer lives, but not that it answers probes: that must be known before its silence means something.
      if (!this.isProven(handle)) this.#askOnce(handle);
      else if (proveEveryMs === 0) this.#wheel.schedule(handle, at);
      else this.#wheel.schedule(handle, Math.min(at, this.#proveAt(handle)));
    } else this.#begin(handle, at);
  }

  /** When a peer that is heard from must be asked nevertheless, ms; never, if it is silent: that is for a suspicion. */
  #proveAt(handle: number): number {
    const { mode, proveEveryMs, intervalMs } = this.#policy(handle);
    const { flags, heardAt, probeAt } = this.peers;
    // PERIODIC asks at each interval anyway: two probes close together would be more than the next owner counts with.
    const heard = mode !== Mode.PERIODIC && heardAt[handle]! + intervalMs > this.#now;
    const wanted = heard && (flags[handle]! & (Flag.PROVEN | Flag.FRESH)) === Flag.PROVEN;
    if (!wanted) return Number.POSITIVE_INFINITY;
    return (flags[handle]! & Flag.PROVING) !== 0 ? this.#answeredBy(handle) : probeAt[handle]! + proveEveryMs;
  }

  /** Asks a peer that is heard from. Its silence is counted, and never judged: it lives. */
  #prove(handle: number): void {
    const { flags, probeAt } = this.peers;
    const proving = (flags[handle]! & Flag.PROVING) !== 0;
    if (proving && this.#isVouched(handle) && this.#answersCouldCome(handle, probeAt[handle]!)) this.counters.oneWay++;
    flags[handle]! &= ~Flag.PROVING;
    const open = this.#open(handle);
    this.#askOnce(handle);
    if (open && probeAt[handle]! === this.#now) flags[handle]! |= Flag.PROVING;
  }

  /** Starts a suspicion that was due at `dueMs`. */
  #begin(handle: number, dueMs: number): void {
    const { peers } = this;
    const late = this.#now - dueMs > this.#policy(handle).waits[1]! * LATE_SHARE;
    peers.cycleAt[handle] = late ? this.#now : dueMs;
    peers.attempt[handle] = 0;
    peers.blindMs[handle] = 0;
    peers.flags[handle]! &= ~Flag.PROVING;
    if (peers.state[handle]! !== State.PROBING) peers.enter(handle, State.PROBING);
    this.#ask(handle);
  }

  #dueProbing(handle: number, dueMs: number): void {
    const { peers } = this;
    const { retries, waits, ends, news } = this.#policy(handle);
    const waitMs = waits[peers.attempt[handle]!]!;
    // The next wait may be shorter, and then the answer to the next probe needs all of it.
    const tolerated = Math.min(waitMs, waits[peers.attempt[handle]! + 1] ?? waitMs) * LATE_SHARE;
    const late = this.#now - dueMs;
    const blind = Math.min(late, this.#unseenMs);
    if (blind > tolerated) {
      // Blind time: answers may wait unread in the socket. The time is given back to the peer before its silence counts.
      this.#giveBack(handle, late);
      if (peers.attempt[handle]! >= retries) {
        const grace = Math.min(late, waitMs);
        this.#giveBack(handle, grace);
        this.#wheel.schedule(handle, this.#now + grace);
        return;
      }
    } else if (late > tolerated && peers.attempt[handle]! < retries) {
      // The probe was late for lack of budget, so its answer may be late, too.
      this.#giveBack(handle, late);
    }
    // A peer that has never answered says nothing about others either. One whose verdict waits is looked at often, and counts once.
    const attempt = peers.attempt[handle]!;
    const first = dueMs < peers.cycleAt[handle]! + ends[attempt]! + TICK_MS;
    if (news[attempt] === 1 && first && this.isProven(handle)) this.counters.outcomes.silent(peers.site[handle]!);
    if (peers.attempt[handle]! < retries) this.#ask(handle);
    else this.#judge(handle);
  }

  #ask(handle: number): void {
    const { peers } = this;
    if (!this.#open(handle)) {
      this.#block(handle);
      return;
    }
    const { retries, ends } = this.#policy(handle);
    const attempt = peers.attempt[handle]! + 1;
    if (attempt > 1) this.#lost(handle);
    peers.flags[handle]! &= ~Flag.REPEATED;
    const unsent = this.#effects.probe(handle, attempt, attempt >= retries);
    if (unsent < 0) {
      this.#block(handle);
      return;
    }
    this.#tell(handle, Traced.ASKED, attempt);
    peers.attempt[handle] = attempt;
    peers.probeAt[handle] = this.#now;
    peers.unsent[handle] = unsent;
    this.#wheel.schedule(handle, unsent > 0 ? this.#now + SPACING_MS : peers.cycleAt[handle]! + ends[attempt]!);
  }

  /** Sends the next message of a probe that has several. After the last one the peer has the usual time to answer. */
  #askOn(handle: number): void {
    const { peers } = this;
    const { retries, waits, ends } = this.#policy(handle);
    const once = peers.state[handle]! !== State.PROBING;
    const attempt = peers.attempt[handle]!;
    const unsent = peers.unsent[handle]! - 1;
    if (!this.#open(handle) || this.#effects.probeOn?.(handle, unsent, !once && attempt >= retries) !== true) {
      if (once) this.#askAgain(handle);
      else this.#block(handle);
      return;
    }
    peers.probeAt[handle] = this.#now;
    peers.unsent[handle] = unsent;
    if (unsent > 0) this.#wheel.schedule(handle, this.#now + SPACING_MS);
    else if (once) this.#askAgain(handle);
    else {
      const missing = this.#now + waits[attempt]! * (1 - LATE_SHARE) - (peers.cycleAt[handle]! + ends[attempt]!);
      if (missing > 0) this.#giveBack(handle, missing);
      this.#wheel.schedule(handle, peers.cycleAt[handle]! + ends[attempt]!);
    }
  }

  #judge(handle: number): void {
    const { peers } = this;
    const { intervalMs, retries, ends } = this.#policy(handle);
    const silenceMs = ends[retries]!;
    const earliest = Math.max(peers.heardAt[handle]! + intervalMs + silenceMs, peers.cycleAt[handle]! + silenceMs);
    if (this.#now < earliest) {
      const again = this.#firstProbeAt(handle);
      // An early first probe was not answered: the peer is probed again when it is due.
      const early = this.#now < again;
      if (early) this.#rest(handle);
      this.#wheel.schedule(handle, early ? again : earliest);
      return;
    }
    if (!this.#open(handle)) {
      this.#block(handle);
      return;
    }
    // The last probe must be known to have left properly, and its answer to have had a way: canaries sent after it came home.
    if (!this.#isVouched(handle)) {
      this.#wheel.schedule(handle, this.#now + VOUCHER_RECHECK_MS);
      return;
    }
    // The same holds for all other probes, or the suspicion begins anew. Answers that were dropped unread are no silence either.
    if (!this.#answersCouldCome(handle, peers.cycleAt[handle]! - peers.blindMs[handle]!)) {
      this.#block(handle);
      return;
    }
    const muted = this.#isMuted(handle);
    if (!this.#proven(handle) || muted) {
      if (muted) this.counters.muted++;
      else {
        this.counters.unproven++;
        this.#tell(handle, Traced.UNPROVEN, peers.attempt[handle]!);
      }
      this.#restUnproven(handle);
      return;
    }
    this.#lost(handle);
    this.#enterDead(handle);
    peers.flags[handle]! &= ~Flag.REASKED;
    this.counters.verdicts++;
    if (this.#policy(handle).asksDead) this.counters.told++;
    this.#effects.verdict(handle, earliest);
  }

  /** The probe before was not answered in time, as far as could be seen here. */
  #lost(handle: number): void {
    if (this.peers.blindMs[handle]! === 0 && this.isProven(handle)) this.peers.roundTrips.lost(handle);
  }

  /** Whether a canary that was sent after the last probe came home; ungated peers need none. */
  #isVouched(handle: number): boolean {
    const { flags, way, probeAt } = this.peers;
    return (flags[handle]! & Flag.GATED) === 0 || this.interlock.vouchedAt(way[handle]!) >= probeAt[handle]!;
  }

  /** Whether answers to the probes since then had a way, as far as it is known. */
  #answersCouldCome(handle: number, fromMs: number): boolean {
    const { flags, way, probeAt } = this.peers;
    if ((flags[handle]! & Flag.GATED) === 0) return true;
    const failed = this.#effects.wayFailed?.(way[handle]!, fromMs, probeAt[handle]!) === true;
    return !failed && this.#effects.deafSince?.(fromMs) !== true;
  }

  /** A dead peer has answered: whether that is often enough. */
  #isBack(handle: number): boolean {
    const { asksDead, upCount } = this.#policy(handle);
    if (!asksDead || upCount <= 1) return true;
    return ++this.peers.answers[handle]! >= upCount;
  }

  #dueDead(handle: number): void {
    const { heardAt, probeAt, answers } = this.peers;
    if (heardAt[handle]! < probeAt[handle]!) answers[handle] = 0;
    this.#askOnce(handle);
  }

  #enterDead(handle: number): void {
    this.peers.answers[handle] = 0;
    this.peers.enter(handle, State.DEAD);
    const { asksDead, mode } = this.#policy(handle);
    if (asksDead && mode !== Mode.DISABLED) this.#askAgain(handle);
  }

  /** Whether the interlock lets this peer be probed now. */
  #open(handle: number): boolean {
    return this.mayAsk(handle, this.#now);
  }

  /** Time in which the peer's answers could not be seen does not count against it. */
  #giveBack(handle: number, ms: number): void {
    const { peers } = this;
    if (peers.blindMs[handle]! === 0) this.counters.blinded++;
    peers.cycleAt[handle]! += ms;
    peers.blindMs[handle]! += ms;
    this.#tell(handle, Traced.BLIND, ms);
  }

  /** Probes a peer whose silence does not count: only its answer means something. */
  #askOnce(handle: number): void {
    const open = this.#open(handle);
    const unsent = open ? this.#effects.probe(handle, 1, false) : 0;
    if (unsent >= 0) this.peers.probeAt[handle] = this.#now;
    this.#tell(handle, open && unsent >= 0 ? Traced.ASKED : Traced.BLOCKED, 0);
    if (unsent <= 0) {
      this.#askAgain(handle);
      return;
    }
    this.peers.unsent[handle] = unsent;
    this.#wheel.schedule(handle, this.#now + SPACING_MS);
  }

  #askAgain(handle: number): void {
    this.peers.unsent[handle] = 0;
    const { mode, intervalMs } = this.#policy(handle);
    const again = this.#now + Math.min(intervalMs, RECHECK_MS);
    // This probe must not delay the next suspicion of a healthy peer.
    const due = this.peers.state[handle]! === State.ALIVE && mode !== Mode.ON_DEMAND;
    const at = due ? Math.min(again, this.#firstProbeAt(handle)) : again;
    this.#wheel.schedule(handle, Math.max(at, this.#answeredBy(handle)));
  }

  /**
   * When the time to answer the last probe is over, ms. A probe of several messages begins with the highest id: sent directly after
   * another probe, the peer would take it for the next request.
   */
  #answeredBy(handle: number): number {
    return this.peers.probeAt[handle]! + this.#policy(handle).waits[0]!;
  }

  #block(handle: number): void {
    const { peers } = this;
    if (peers.state[handle]! !== State.BLOCKED) {
      this.#tell(handle, Traced.BLOCKED, peers.attempt[handle]!);
      peers.enter(handle, State.BLOCKED);
      this.counters.blocked++;
    }
    peers.attempt[handle] = 0;
    this.#wheel.schedule(handle, this.#now + BLOCKED_RECHECK_MS);
  }

  /**
   * Whether the peer's silence means something: it has answered here, and since its way last changed some peer has answered on
   * that way. A peer that has never answered is judged only if its policy says after how long.
   */
  #proven(handle: number): boolean {
    const { peers } = this;
    const gated = (peers.flags[handle]! & Flag.GATED) !== 0;
    const answered = (peers.flags[handle]! & Flag.PROVEN) !== 0;
    if (answered && (!gated || this.#wayProven[peers.way[handle]!] === 1)) return true;
    const { unprovenMs } = this.#policy(handle);
    return unprovenMs > 0 && this.#now - peers.heardAt[handle]! >= unprovenMs;
  }

  /** Whether its silence is not to be judged yet, because an operator said so. */
  #isMuted(handle: number): boolean {
    return (this.#mutes.get(handle) ?? 0) > this.#now;
  }

  /** Whether the peer has answered here. */
  isProven(handle: number): boolean {
    return (this.peers.flags[handle]! & Flag.PROVEN) !== 0;
  }

  #restUnproven(handle: number): void {
    this.peers.enter(handle, State.UNPROVEN);
    this.peers.attempt[handle] = 0;
    this.#askAgain(handle);
  }

  /** Its suspicion is over, or begins anew later. The main thread waits for what becomes of a peer that was to be asked again. */
  #rest(handle: number): void {
    const reasked = (this.peers.flags[handle]! & Flag.REASKED) !== 0;
    this.peers.enter(handle, reasked ? State.HELD : State.ALIVE);
    this.peers.attempt[handle] = 0;
  }

  #recover(handle: number): void {
    const { peers } = this;
    const attempts = peers.attempt[handle]!;
    const reasked = (peers.flags[handle]! & Flag.REASKED) !== 0;
    peers.flags[handle]! &= ~Flag.REASKED;
    const was = reasked ? State.HELD : (peers.state[handle]! as State);
    if (was !== State.BLOCKED && was !== State.UNPROVEN) this.counters.outcomes.well(peers.site[handle]!);
    const unsent = peers.unsent[handle]!;
    if (was === State.DEAD) this.counters.returned++;
    this.#rest(handle);
    const policy = this.#policy(handle);
    // An operator may have had a peer deleted that is not watched.
    if (policy.mode === Mode.DISABLED) this.#watch(handle, policy);
    else if (unsent > 0 && !this.isProven(handle)) {
      // Its next id still has to be found.
      peers.unsent[handle] = unsent;
      this.#wheel.schedule(handle, this.#now + SPACING_MS);
    } else this.#wheel.schedule(handle, this.#firstProbeAt(handle));
    if (was === State.DEAD || was === State.HELD || attempts >= 2)
      this.#effects.recovered(handle, peers.cycleAt[handle]!, attempts, was);
  }
}
