/**
 * Hierarchical timing wheel: one timer per handle, no object per timer.
 *
 * Buckets are doubly linked lists threaded through two typed arrays. A timer sits in the level whose span covers its
 * distance and moves down a level as time comes near, so schedule, cancel and expiry are O(1).
 * Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987, scheme 7.
 */

/** Length of a tick, in ms. A timer never fires early, and at most one tick late unless the wheel is held up. */
export const TICK_MS = 5;

const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
const SLOT_MASK = SLOTS - 1;
const LEVELS = 4;
const NONE = -1;
/** Farthest tick from now that fits the top level; later timers wait there and are placed again. */
const HORIZON = 2 ** (SLOT_BITS * LEVELS) - 1;

/** Called for each timer that is due, with its handle and the time it was set for, ms. It may set and cancel any. */
export type OnDue = (handle: number, dueMs: number) => void;

const always = () => true;

export class TimingWheel {
  #next: Int32Array;
  #previous: Int32Array;
  /** Bucket a handle is in, or NONE. */
  #bucket: Int16Array;
  /** Absolute expiry tick of a handle. */
  #expiry: Float64Array;
  readonly #heads = new Int32Array(LEVELS * SLOTS).fill(NONE);
  readonly #used = new Int32Array(LEVELS);
  #tick: number;

  /**
   * @param nowMs current time, in ms
   * @param capacity handles to make room for; grows with {@link grow}
   */
  constructor(nowMs: number, capacity: number) {
    this.#tick = Math.floor(nowMs / TICK_MS);
    this.#next = new Int32Array(capacity).fill(NONE);
    this.#previous = new Int32Array(capacity).fill(NONE);
    this.#bucket = new Int16Array(capacity).fill(NONE);
    this.#expiry = new Float64Array(capacity);
  }

  /** Makes room for handles below `capacity`. */
  grow(capacity: number): void {
    const old = this.#next.length;
    if (capacity <= old) return;
    const widen = <T extends Int32Array | Int16Array | Float64Array>(wide: T, from: T): T => {
      wide.fill(NONE, old);
      wide.set(from);
      return wide;
    };
    this.#next = widen(new Int32Array(capacity), this.#next);
    this.#previous = widen(new Int32Array(capacity), this.#previous);
    this.#bucket = widen(new Int16Array(capacity), this.#bucket);
    this.#expiry = widen(new Float64Array(capacity), this.#expiry);
  }

  /** Sets the handle's timer to `atMs`, replacing the one it has. A time in the past is due at the next advance. */
  schedule(handle: number, atMs: number): void {
    if (this.#bucket[handle]! !== NONE) this.#unlink(handle);
    this.#expiry[handle] = Math.max(Math.ceil(atMs / TICK_MS), this.#tick + 1);
    this.#link(handle);
  }

  /** Removes the handle's timer, if it has one. */
  cancel(handle: number): void {
    if (this.#bucket[handle]! !== NONE) this.#unlink(handle);
  }

  /** A moment before which no timer is due, ms; Infinity without timers. At most one turn of the lowest level ahead. */
  get idleUntilMs(): number {
    const above = this.#anyAbove();
    if (this.#used[0] === 0 && !above) return Number.POSITIVE_INFINITY;
    const turn = (this.#tick | SLOT_MASK) + 1;
    // The present slot holds the timers that a stopped advance has left.
    let tick = this.#tick;
    while (tick < turn && this.#heads[this.#slot(0, tick)]! === NONE) tick++;
    // Beyond this turn there are timers of this level, and timers that come down from the level above.
    return tick * TICK_MS;
  }

  /** The wheel's present time, ms. */
  get atMs(): number {
    return this.#tick * TICK_MS;
  }

  /**
   * Moves time to `nowMs` and calls `onDue` for every timer due by then, tick by tick in order.
   * @param mayGoOn asked before each timer; when it returns false, time stops there, and the rest waits for the next
   * call
   */
  advance(nowMs: number, onDue: OnDue, mayGoOn: () => boolean = always): void {
    const target = Math.floor(nowMs / TICK_MS);
    if (!this.#expire(onDue, mayGoOn)) return;
    while (this.#tick < target) {
      if (this.#used[0] === 0 && !this.#anyAbove()) {
        this.#tick = target;
        return;
      }
      this.#tick++;
      for (let level = 1; level < LEVELS && this.#slot(level - 1, this.#tick) === 0; level++) this.#cascade(level);
      if (!this.#expire(onDue, mayGoOn)) return;
    }
  }

  /** Runs the timers of the present tick. False if it was stopped. */
  #expire(onDue: OnDue, mayGoOn: () => boolean): boolean {
    const bucket = this.#slot(0, this.#tick);
    for (let handle = this.#heads[bucket]!; handle !== NONE; handle = this.#heads[bucket]!) {
      if (!mayGoOn()) return false;
      this.#unlink(handle);
      onDue(handle, this.#tick * TICK_MS);
    }
    return true;
  }

  #anyAbove(): boolean {
    return this.#used[1]! + this.#used[2]! + this.#used[3]! > 0;
  }

  /** Index within its level of the slot that holds `tick`. */
  #slot(level: number, tick: number): number {
    return Math.floor(tick / 2 ** (SLOT_BITS * level)) & SLOT_MASK;
  }

  #cascade(level: number): void {
    const bucket = level * SLOTS + this.#slot(level, this.#tick);
    let handle = this.#heads[bucket]!;
    this.#heads[bucket] = NONE;
    while (handle !== NONE) {
      const next = this.#next[handle]!;
      this.#used[level]!--;
      this.#bucket[handle] = NONE;
      this.#link(handle);
      handle = next;
    }
  }

  #link(handle: number): void {
    const expiry = Math.min(this.#expiry[handle]!, this.#tick + HORIZON);
    const distance = expiry - this.#tick;
    let level = 0;
    while (level < LEVELS - 1 && distance >= 2 ** (SLOT_BITS * (level + 1))) level++;
    const bucket = level * SLOTS + this.#slot(level, expiry);
    const head = this.#heads[bucket]!;
    this.#next[handle] = head;
    this.#previous[handle] = NONE;
    if (head !== NONE) this.#previous[head] = handle;
    this.#heads[bucket] = handle;
    this.#bucket[handle] = bucket;
    this.#used[level]!++;
  }

  #unlink(handle: number): void {
    const bucket = this.#bucket[handle]!;
    const next = this.#next[handle]!;
    const previous = this.#previous[handle]!;
    if (previous === NONE) this.#heads[bucket] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#bucket[handle] = NONE;
    this.#used[bucket >> SLOT_BITS]!--;
  }
}
