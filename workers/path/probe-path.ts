/**
 * Proves the ways that a shard's probes and their answers take: canaries go out and in on each way, and those that come home open
 * the interlock. As long as none come home, another owner may have asked the shard's peers.
 */

import { Address } from '../base/address.ts';
import { always } from '../base/always.ts';
import { NAT_T_PORT, type Order, orderToDaemon, orderToSpoke } from '../ikev2/header.ts';
import { Direction, type Interlock, MAX_WAYS, NO_WAY } from '../liveness/interlock.ts';
import type { Sender } from '../net/probe-socket.ts';
import { SendBuffers } from '../net/send-buffers.ts';
import {
  CANARY_INTERVAL_MS,
  CANARY_LENGTH,
  type Canary,
  CanaryLog,
  readCanary,
  VOUCHER_MS,
  writeCanary,
} from './canary.ts';
import { Guise } from './guise.ts';
import { type ShardPath, sameEnd, type Way, WayNumbers } from './ways.ts';

/** A canary follows the last probe of a suspicion, but not more often than this, ms. */
const CANARY_SPACING_MS = 20;
always(CANARY_SPACING_MS < CANARY_INTERVAL_MS, 'a canary that is wanted comes sooner than the next');
/** If no canary came home for longer than this, another owner may have had the shard, ms. */
const GAP_MS = VOUCHER_MS;

/** What a path works with. */
export type PathContext = {
  readonly interlock: Interlock;
  /** Number of the shard. */
  readonly shard: number;
  /** Number of the first canary. */
  readonly first: number;
  /** As of ShardIo. */
  send(message: Buffer, address: Address, port: number): boolean;
  /** A canary came home, the first since that moment or since a takeover: another owner may have asked meanwhile. */
  missed(sinceMs: number): void;
  /** The ways have changed. */
  changed(): void;
};

/** A way with its canaries. */
type ProvenWay = {
  readonly way: Way;
  readonly target: Address | undefined;
  readonly out: CanaryLog;
  readonly in: CanaryLog;
};

export class ProbePath {
  readonly numbers = new WayNumbers();
  readonly #context: PathContext;
  readonly #buffers = new SendBuffers();
  readonly #guise = new Guise();
  #path: ShardPath | undefined;
  #ways: ProvenWay[] = [];
  /** Way of each number, as far as it was asked for since the path was set; null: none. */
  readonly #byNumber: (ProvenWay | null | undefined)[] = [];
  #canaryAt = Number.NEGATIVE_INFINITY;
  #canaryWanted = false;
  /** When the newest canary that came home was sent, or until when another owner is known to have had the shard, ms. */
  #ownedAt: number;
  /** No canary has come home since the shard was taken over, or its headend was elsewhere. */
  #takenOver = false;
  /** A canary sent before this moment proves nothing, ms: its headend has been elsewhere since. */
  #backAt = Number.NEGATIVE_INFINITY;
  /** Where the headend vouches: until then a former owner may go on with its last voucher, ms. */
  #soleFrom = Number.NEGATIVE_INFINITY;
  /** When the newest canary that the headend vouched for was sent, ms. */
  #vouchedAt = Number.NEGATIVE_INFINITY;
  /** Canaries sent, and those that came home or were vouched for. */
  readonly count = { canariesSent: 0, vouchers: 0 };

  /** @param ownedAtMs until then it is known who had the shard */
  constructor(context: PathContext, ownedAtMs: number) {
    this.#context = context;
    this.#ownedAt = ownedAtMs;
  }

  /** Whether probes carry the marker of a guarded hub, and SAs have to be parked there. */
  get guarded(): boolean {
    return this.#path?.guarded ?? false;
  }

  /** A message as it leaves for a spoke by this way. On a guarded way only the rules make an IKE message of it. */
  toSpoke(way: number, message: Buffer): Buffer {
    const known = this.#wayOf(way)?.way;
    return this.#guise.put(
      message,
      known?.ikePort ?? NAT_T_PORT,
      this.guarded ? orderToSpoke(known?.index ?? 0) : undefined,
    );
  }

  /**
   * A message as it is handed to the headend's own daemon, as if its spoke had sent it to this end; undefined: that is not known.
   * @param way undefined: the only one, if it is
   */
  toDaemon(way: number | undefined, message: Buffer): Buffer | undefined {
    const known = way === undefined ? this.#onlyWay : this.#wayOf(way);
    return known && this.guarded
      ? this.#guise.put(message, known.way.ikePort, orderToDaemon(known.way.index))
      : undefined;
  }

  /** A datagram as IKE messages are everywhere in the shard. */
  received(datagram: Buffer, fromPort: number): Buffer {
    return this.#guise.take(datagram, fromPort);
  }

  get #onlyWay(): ProvenWay | undefined {
    return this.#ways.length === 1 ? this.#ways[0] : undefined;
  }

  /** Since this moment another owner may have asked, ms. */
  get ownedAtMs(): number {
    return this.#ownedAt;
  }

  /** The shard is taken over: its former owner's checkpoint tells of this moment, ms. */
  takeOver(ownedAtMs: number): void {
    this.#ownedAt = ownedAtMs;
    this.#takenOver = true;
  }

  /**
   * The headend has connected again. It may have been elsewhere, and its rules may have named another owner, for a shorter time than a
   * canary is valid. Without rules it vouched for no other owner in so short a time.
   */
  headendIsBack(nowMs: number): void {
    if (!this.#path?.returning) return;
    this.#takenOver = true;
    this.#backAt = nowMs;
    this.#context.interlock.distrust();
  }

  /** The headend says how probes leave. */
  set(path: ShardPath): void {
    const before = this.#path;
    const former = new Map(this.#ways.map((proven) => [nameOf(proven.way), proven]));
    this.#path = path;
    // A way that stays keeps its canaries: only their target is new.
    this.#ways = path.ways.slice(0, MAX_WAYS).map((way, n) => {
      const known = former.get(nameOf(way));
      const target = way.canaryAddress === '' ? undefined : Address.of(way.canaryAddress);
      const first = this.#context.first + n * 0x01000000;
      return { way, target, out: known?.out ?? new CanaryLog(first), in: known?.in ?? new CanaryLog(first) };
    });
    this.#byNumber.fill(undefined);
    if (!path.ready) this.#context.interlock.distrust();
    if (!before || (sameWays(before, path) && before.ready === path.ready)) return;
    this.#context.interlock.distrust();
    this.#context.changed();
  }

  /** A canary came home to this socket. */
  home(datagram: Buffer, sender: Sender): void {
    const canary = readCanary(datagram);
    const proven = canary && this.#ways[canary.way];
    if (!proven || !this.#path?.returning || !cameProperly(proven, canary.direction, sender)) return;
    const sentAt = (canary.direction === Direction.OUT ? proven.out : proven.in).seen(canary.number);
    if (sentAt !== undefined) this.#vouch(proven, canary.direction, sentAt);
  }

  /** The headend saw this canary leave as it should, and confirms that answers have a way. */
  vouch(canary: number): void {
    if (!this.#path || this.#path.returning) return;
    for (const proven of this.#ways) {
      const sentAt = proven.out.seen(canary);
      if (sentAt === undefined) continue;
      // The rules of a guarded hub change to the new owner at once; a headend that vouches has not told the former owner.
      if (sentAt - this.#vouchedAt > GAP_MS) this.#soleFrom = sentAt + VOUCHER_MS;
      this.#vouchedAt = Math.max(this.#vouchedAt, sentAt);
      if (sentAt < this.#soleFrom) return;
      this.#vouch(proven, Direction.OUT, sentAt);
      this.#vouch(proven, Direction.IN, sentAt);
    }
  }

  /** Whether a way is known to have failed during this time. */
  failed(way: number, fromMs: number, toMs: number): boolean {
    const proven = this.#wayOf(way);
    if (!proven) return true;
    return proven.out.missed(fromMs, toMs) || (this.#path!.returning && proven.in.missed(fromMs, toMs));
  }

  /** A verdict will need canaries sent after this moment. */
  wantCanary(): void {
    this.#canaryWanted = true;
  }

  /** Sends canaries if they are due. */
  tick(nowMs: number): void {
    if (nowMs < this.#canaryDueMs) return;
    this.#canaryWanted = false;
    this.#canaryAt = nowMs;
    if (!this.#path?.ready) return;
    for (let way = 0; way < this.#ways.length; way++) this.#sendCanaries(way, nowMs);
  }

  /** No canary will be sent before this moment, ms. */
  get idleUntilMs(): number {
    return this.#path?.ready ? this.#canaryDueMs : Number.POSITIVE_INFINITY;
  }

  get #canaryDueMs(): number {
    return this.#canaryAt + (this.#canaryWanted ? CANARY_SPACING_MS : CANARY_INTERVAL_MS);
  }

  #sendCanaries(way: number, nowMs: number): void {
    const { way: named, target, out, in: inward } = this.#ways[way]!;
    if (!target) return;
    const { guarded, returning } = this.#path!;
    const order = guarded ? orderToSpoke(named.index) : undefined;
    this.#send({ number: out.next(nowMs), way, direction: Direction.OUT }, named, order, target);
    // This one looks like an answer of the spoke: the rules turn it around, and then it takes the way of answers.
    if (!returning) return;
    const back = orderToDaemon(named.index);
    this.#send({ number: inward.next(nowMs), way, direction: Direction.IN }, named, back, target);
  }

  #send(canary: Canary, { ikePort, canaryPort }: Way, order: Order | undefined, target: Address): void {
    const message = this.#buffers.next(CANARY_LENGTH);
    writeCanary(canary, this.#context.shard, message);
    if (this.#context.send(this.#guise.put(message, ikePort, order), target, canaryPort)) this.count.canariesSent++;
  }

  #vouch(proven: ProvenWay, direction: Direction, sentAt: number): void {
    if (!this.#path?.ready || sentAt < this.#backAt) return;
    this.count.vouchers++;
    const sinceMs = this.#ownedAt;
    this.#ownedAt = Math.max(sinceMs, sentAt);
    // Before anything is asked again.
    if (sentAt - sinceMs > GAP_MS || this.#takenOver) this.#context.missed(sinceMs);
    this.#takenOver = false;
    for (let number = 0; number < this.numbers.ends.length; number++)
      if (this.#wayOf(number) === proven) this.#context.interlock.vouch(number, direction, sentAt, sentAt + VOUCHER_MS);
  }

  /** The way that probes from one of the headend's ends take. */
  #wayOf(number: number): ProvenWay | undefined {
    if (number === NO_WAY) return undefined;
    let way = this.#byNumber[number];
    if (way === undefined) {
      const end = this.numbers.ends[number];
      way = this.#ways.find(({ way: named }) => named.local === '' || (end && sameEnd(named, end))) ?? null;
      this.#byNumber[number] = way;
    }
    return way ?? undefined;
  }
}

/** What does not change for as long as a way is the same. */
function nameOf({ local, ikePort, index }: Way): string {
  return `${local} ${ikePort} ${index}`;
}

/** Whether probes meet the same conditions on both ways; the targets of canaries may differ. */
function sameWays(a: ShardPath, b: ShardPath): boolean {
  return (
    a.guarded === b.guarded && a.returning === b.returning && a.ways.map(nameOf).join() === b.ways.map(nameOf).join()
  );
}

/** Whether a canary left as the hub's own, or arrived as the spoke's. */
function cameProperly({ way, target }: ProvenWay, direction: Direction, sender: Sender): boolean {
  if (direction === Direction.OUT) return sender.port === way.ikePort && String(sender.address) === way.local;
  return target !== undefined && sender.port === way.canaryPort && sender.address.bytes.equals(target.bytes);
}
