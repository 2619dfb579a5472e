/** Membership of the cluster: this node reports every second that it lives, and learns which other nodes live. */

import { always } from '../../../workers/base/always.ts';
import type { Clock } from '../../base/clock.ts';
import { BEAT_TTL_MS, type BeatContext, beat, leave, type Member } from '../../store/cluster/members.ts';

const BEAT_MS = 1_000;
always(3 * BEAT_MS <= BEAT_TTL_MS, 'two beats in a row may get lost');

export class Membership {
  readonly #store: BeatContext;
  readonly #clock: Clock;
  readonly #describe: () => Member;
  readonly #onChange: (members: readonly Member[]) => void;
  #members: readonly Member[] = [];
  /** When Redis took the last beat, ms on the clock. */
  #beatAt: number;
  #cancel: () => void = () => {};
  #beating: Promise<void> | undefined;

  /**
   * @param describe this node as it is now
   * @param onChange told when a node joins, leaves, moves or begins to drain
   */
  constructor(
    store: BeatContext,
    clock: Clock,
    describe: () => Member,
    onChange: (members: readonly Member[]) => void,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#beatAt = clock.now();
    this.#describe = describe;
    this.#onChange = onChange;
  }

  /** Nodes that live, by id; as of the last beat that Redis took. */
  get members(): readonly Member[] {
    return this.#members;
  }

  /** For how long Redis has taken no beat, ms. */
  get withoutRedisMs(): number {
    return this.#clock.now() - this.#beatAt;
  }

  start(): void {
    this.#cancel = this.#clock.every(BEAT_MS, () => void this.beatNow());
  }

  /** Reports it now. Never rejects: without Redis the last known members stay. */
  async beatNow(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => {
      this.#beating = undefined;
    });
    await this.#beating;
  }

  async #beat(): Promise<void> {
    try {
      const members = await beat(this.#store, this.#describe());
      const changed = shape(members) !== shape(this.#members);
      this.#members = members;
      this.#beatAt = this.#clock.now();
      if (changed) this.#onChange(members);
    } catch {
      // Redis is away; the shards' housekeeping logs that.
    }
  }

  /** Leaves the cluster. */
  async stop(): Promise<void> {
    this.#cancel();
    await this.#beating;
    await leave(this.#store.redis, this.#describe().id).catch(() => {});
  }
}

/** What headends need to know of the members. */
function shape(members: readonly Member[]): string {
  return members.map(({ id, address, draining }) => `${id} ${address} ${draining}`).join('\n');
}
