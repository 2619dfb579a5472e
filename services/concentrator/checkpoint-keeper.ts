/** A shard's checkpoint on its way from the thread to Redis: nothing that the thread told once is lost on the way. */

import type { CheckpointChunk } from '../../workers/protocol.ts';
import type { Clock } from '../clock.ts';
import type { ShardStore } from '../store/shard-store.ts';
import type { ShardTaskHandle } from './shard-thread.ts';

export class CheckpointKeeper {
  readonly #store: ShardStore;
  readonly #clock: Clock;
  /** Chunks that Redis does not have yet, the newest of each. */
  #pending = new Map<number, Uint8Array>();
  /** Chunks of former owners may stand beside ours. */
  #former = true;
  /** What the thread counts as told may not have arrived here. */
  #incomplete = false;

  constructor(store: ShardStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** What changed; everything, if an earlier answer did not arrive in time. Rejects as the thread does. */
  async collect(task: ShardTaskHandle): Promise<void> {
    const type = this.#incomplete ? 'wholeCheckpoint' : 'checkpoint';
    this.#incomplete = true;
    this.#keep(await task.ask(type));
    this.#incomplete = false;
  }

  /** Stops the thread and keeps its last word. */
  async collectLast(task: ShardTaskHandle): Promise<void> {
    this.#keep(await task.stop(this.#incomplete));
  }

  /** Redis lost what it had: the next collection is whole. */
  startAnew(): void {
    this.#incomplete = true;
    this.#former = true;
  }

  /**
   * Writes what is kept; what does not arrive stays kept. Rejects as the store does.
   * @param final the thread has stopped
   */
  async write(final = false): Promise<void> {
    const chunks = this.#pending;
    this.#pending = new Map();
    try {
      const rows = Array.from(chunks, ([index, bytes]) => ({ index, bytes }));
      await this.#store.writeCheckpoint(rows, this.#clock.wall(), final);
      if (this.#former) await this.#store.dropFormerCheckpoints();
      this.#former = false;
    } catch (error) {
      this.#pending = new Map([...chunks, ...this.#pending]);
      throw error;
    }
  }

  #keep(chunks: readonly CheckpointChunk[]): void {
    for (const { index, bytes } of chunks) this.#pending.set(index, bytes);
  }
}
