/** A shard's checkpoint on its way from the thread to Redis: nothing that the thread told once is lost on the way. */

import type { CheckpointChunk, CheckpointPart } from '../../../workers/takeover/checkpoint.ts';
import type { Clock } from '../../base/clock.ts';
import type { ShardStore } from '../../store/shard/shard-store.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { ShardTaskHandle } from './shard-thread.ts';

type CheckpointStore = Pick<ShardStore, 'writeCheckpoint'>;

export class CheckpointKeeper {
  readonly #store: CheckpointStore;
  readonly #clock: Clock;
  readonly #lease: Pick<LeaseKeeper, 'redisTime'>;
  /** Whom to ask. A thread that knows only some of the SAs yet is not asked. */
  #task: ShardTaskHandle | undefined;
  /** Chunks that Redis does not have yet, the newest of each. */
  #pending = new Map<number, CheckpointChunk>();
  /** Up to when all is told, ms on the clock. */
  #asOfMs: number | undefined;
  /** Chunks of former owners, or of a thread that died, may stand beside ours: their handles were others. */
  #former = true;
  /** What is pending is all there is, and may replace them. */
  #whole = false;
  /** What the thread counts as told may not have arrived here. */
  #incomplete = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(store: CheckpointStore, clock: Clock, lease: Pick<LeaseKeeper, 'redisTime'>) {
    this.#store = store;
    this.#clock = clock;
    this.#lease = lease;
  }

  /** This thread knows all SAs now. */
  watch(task: ShardTaskHandle): void {
    this.#task = task;
    this.startAnew();
  }

  /** The thread died: what it told last is all there is. */
  died(): void {
    this.#task = undefined;
  }

  /** Takes what changed; everything, if an earlier answer did not arrive in time. Rejects as the thread does. */
  async collect(): Promise<void> {
    if (!this.#task) return;
    const type = this.#incomplete ? 'wholeCheckpoint' : 'checkpoint';
    this.#incomplete = true;
    this.#keep(await this.#task.ask(type), type === 'wholeCheckpoint');
    this.#incomplete = false;
  }

  /** Stops a thread and takes its last word, after which nothing changes any more. */
  async collectLast(task: ShardTaskHandle): Promise<void> {
    const last = await task.stop();
    if (!last || this.#task !== task) return;
    this.#task = undefined;
    this.#keep(last, true);
  }

  /** What Redis has counts for nothing: the next collection is whole. */
  startAnew(): void {
    this.#incomplete = true;
    this.#former = true;
    this.#whole = false;
  }

  /** Writes what is kept, one after the other; what does not arrive stays kept. Rejects as the store does. */
  write(): Promise<void> {
    const before = this.#writing;
    this.#writing = (async () => {
      await before.catch(() => {});
      await this.#write();
    })();
    return this.#writing;
  }

  async #write(): Promise<void> {
    // A part of it beside what counts for nothing would pass for newer than it is.
    if (this.#asOfMs === undefined || (this.#former && !this.#whole)) return;
    const chunks = this.#pending;
    this.#pending = new Map();
    const taken = {
      unix: this.#clock.wall() - this.#clock.now() + this.#asOfMs,
      redisUnix: this.#lease.redisTime(this.#asOfMs),
    };
    try {
      await this.#store.writeCheckpoint([...chunks.values()], taken, this.#former);
      this.#former = false;
    } catch (error) {
      this.#pending = new Map([...chunks, ...this.#pending]);
      throw error;
    }
  }

  #keep({ chunks, asOfMs }: CheckpointPart, whole: boolean): void {
    this.#asOfMs = asOfMs;
    this.#whole ||= whole;
    for (const chunk of chunks) this.#pending.set(chunk.index, chunk);
  }
}
