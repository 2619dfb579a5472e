/** Takes a shard's checkpoint from the thread to Redis: what the thread has handed over once is not lost on the way. */

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
  /** The thread to ask. A thread that does not know all SAs yet is not asked. */
  #task: ShardTaskHandle | undefined;
  /** Chunks that Redis does not have yet, the newest of each. */
  #pending = new Map<number, CheckpointChunk>();
  /** Up to when it is complete, ms on the clock. */
  #asOfMs: number | undefined;
  /** Redis may have chunks of former owners, or of a thread that died, beside ours: their handles were different. */
  #former = true;
  /** The pending chunks are complete, and may replace them. */
  #whole = false;
  /** Chunks that the thread counts as handed over may not have arrived here. */
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

  /** The thread died: its last chunks are all there is. */
  died(): void {
    this.#task = undefined;
  }

  /**
   * Takes the changed chunks, or all chunks if an earlier answer did not arrive in time. Rejects as the thread does.
   */
  async collect(): Promise<void> {
    if (!this.#task) return;
    const type = this.#incomplete ? 'wholeCheckpoint' : 'checkpoint';
    this.#incomplete = true;
    this.#keep(await this.#task.ask(type), type === 'wholeCheckpoint');
    this.#incomplete = false;
  }

  /** Stops a thread and takes its last checkpoint, after which nothing changes any more. */
  async collectLast(task: ShardTaskHandle): Promise<void> {
    const last = await task.stop();
    if (!last || this.#task !== task) return;
    this.#task = undefined;
    this.#keep(last, true);
  }

  /** Redis's copy is not used any more: the next collection is complete. */
  startAnew(): void {
    this.#incomplete = true;
    this.#former = true;
    this.#whole = false;
  }

  /** Writes pending chunks, one write after the other. Chunks that do not arrive stay pending. Rejects as the store does. */
  write(): Promise<void> {
    const before = this.#writing;
    this.#writing = (async () => {
      await before.catch(() => {});
      await this.#write();
    })();
    return this.#writing;
  }

  async #write(): Promise<void> {
    // A part of it beside invalid chunks in Redis would make those look newer than they are.
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
