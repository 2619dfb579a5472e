/** A shard's thread: filled with all that is known of the shard, and replaced by another when it dies. */

import { FencedError } from '../../../workers/base/errors.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { ShardRecords } from '../records/records.ts';
import type { ShardEvent, ShardTaskHandle } from './shard-thread.ts';

const RESTART_MS = 500;
/** A thread that does not answer for so long hangs, ms. After a shorter standstill of the machine a thread goes on by itself. */
const HUNG_MS = 30_000;

export type ThreadContext = {
  readonly clock: Clock;
  readonly log: Logger;
  readonly startTask: (onEvent: (event: ShardEvent) => void) => ShardTaskHandle;
};

/** What the shard does for its thread. */
export type ThreadEffects = {
  /** Whether the shard still lives here, and with it its thread. */
  wanted(): boolean;
  /** A thread is about to start: the last checkpoint of its predecessor must be in Redis. */
  prepare(): Promise<void>;
  /** Tells a new thread all it must know, and notes its SAs in the records. */
  fill(task: ShardTaskHandle, records: ShardRecords): Promise<void>;
  /** It knows all SAs, and watches them. */
  filled(task: ShardTaskHandle): void;
  onEvent(event: ShardEvent): void;
  /** It died: its handles are not valid any more. */
  died(): void;
  /** The shard turned out to be another node's. */
  fenced(reason: string): void;
};

export class ThreadKeeper {
  /** The SAs of the thread by its handles. */
  records = new ShardRecords();
  readonly #context: ThreadContext;
  readonly #effects: ThreadEffects;
  #task!: ShardTaskHandle;
  /** The same, once it knows all SAs. */
  #filled: ShardTaskHandle | undefined;
  readonly #dead = new WeakSet<ShardTaskHandle>();
  /** When the thread was last known to work, ms on the clock. */
  #workedAt = 0;
  /** The thread died, and its successor does not know all SAs yet. */
  #replacing: PromiseWithResolvers<void> | undefined;

  constructor(context: ThreadContext, effects: ThreadEffects) {
    this.#context = context;
    this.#effects = effects;
  }

  get task(): ShardTaskHandle {
    return this.#task;
  }

  /**
   * Settles when the thread that died has a successor, or when there will be none; undefined while the thread lives.
   */
  get replaced(): Promise<void> | undefined {
    return this.#replacing?.promise;
  }

  /** Starts and fills a thread. Rejects if that fails, or the thread ends meanwhile. */
  async start(): Promise<void> {
    await this.#effects.prepare();
    if (!this.#effects.wanted()) throw new Error('the shard was given up');
    const records = new ShardRecords();
    this.records = records;
    const task = this.#startTask();
    this.#task = task;
    const ended = task.done.then(() => {
      throw new Error('the thread was stopped');
    });
    await Promise.race([this.#effects.fill(task, records), ended]);
    if (this.#dead.has(task)) throw new Error('the thread died');
    this.#filled = task;
    this.answered();
    this.#effects.filled(task);
  }

  /** The thread has answered what it was asked. */
  answered(): void {
    this.#workedAt = this.#context.clock.now();
  }

  /**
   * The thread has not answered in time. A thread that hangs is ended, because no other could watch its SAs: the lease says that
   * they are watched here.
   */
  silent(): void {
    const { clock, log } = this.#context;
    if (this.#task !== this.#filled || clock.now() - this.#workedAt < HUNG_MS) return;
    log.error({ silentMs: Math.round(clock.now() - this.#workedAt) }, 'shard thread hangs; it is ended');
    this.answered();
    this.#task.kill();
  }

  /** Waits for a step of a change. Rejects if the thread died meanwhile: its handles are not valid any more. */
  async outlive<T>(step: Promise<T>): Promise<T> {
    const task = this.#task;
    const result = await step;
    if (task !== this.#task || this.#replacing) throw new Error('the thread of the shard died');
    return result;
  }

  /** Ends the waits for a successor: there will be none. */
  noMore(): void {
    this.#replacing?.resolve();
  }

  #startTask(): ShardTaskHandle {
    const task = this.#context.startTask((event) => {
      if (task === this.#task) this.#effects.onEvent(event);
    });
    // The code that fills a thread handles its end itself.
    task.done.catch((error: Error) => {
      this.#dead.add(task);
      if (this.#effects.wanted() && task === this.#filled) this.#replace(error);
    });
    return task;
  }

  /** Everything that the thread knew is loaded from Redis, and runs again on a new thread. */
  #replace(error: Error): void {
    const { clock, log } = this.#context;
    log.error({ reason: error.message }, 'shard thread died; starting again');
    this.#replacing ??= Promise.withResolvers();
    this.#effects.died();
    clock.after(RESTART_MS, async () => {
      if (!this.#effects.wanted()) return;
      // A task that was started but not filled must not go on beside the next one.
      void this.#task.stop();
      try {
        await this.start();
        this.#replacing?.resolve();
        this.#replacing = undefined;
      } catch (again) {
        if (!this.#effects.wanted()) return;
        if (again instanceof FencedError) this.#effects.fenced(again.message);
        else this.#replace(again as Error);
      }
    });
  }
}
