/** The thread of simulated spokes, as the program sees it that asks and kills them. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { FleetShape } from './fleet.ts';
import type { FromSpokes, ToSpokes } from './protocol.ts';

type Answer<T extends FromSpokes['type']> = Extract<FromSpokes, { type: T }>;

export class SpokesThread {
  /** Sockets that the spokes listen on. */
  readonly sockets: FleetShape['sockets'];
  readonly #worker: Worker;
  #heardCost: (cost: Answer<'cost'>) => void = () => {};

  private constructor(
    worker: Worker,
    sockets: FleetShape['sockets'],
    onKilled: (spoke: number, lastAnswerUnix: number) => void,
  ) {
    this.#worker = worker;
    this.sockets = sockets;
    worker.on('message', (message: FromSpokes) => {
      if (message.type === 'cost') this.#heardCost(message);
      else if (message.type === 'killed') onKilled(message.spoke, message.lastAnswerUnix);
    });
  }

  /**
   * Makes the spokes. Rejects with the thread's error.
   * @param onKilled told of each death: the spoke, and when it last answered, Unix ms
   */
  static async start(
    fleet: Omit<Extract<ToSpokes, { type: 'start' }>, 'type'>,
    onKilled: (spoke: number, lastAnswerUnix: number) => void = () => {},
  ): Promise<SpokesThread> {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    worker.postMessage({ type: 'start', ...fleet } satisfies ToSpokes);
    const [ready] = (await once(worker, 'message')) as [Answer<'ready'>];
    return new SpokesThread(worker, ready.sockets, onKilled);
  }

  /** A spoke sets up its SA on another endpoint. */
  bring(spoke: number, life: number): void {
    this.#tell({ type: 'bring', spoke, life });
  }

  kill(spoke: number, life: number): void {
    this.#tell({ type: 'kill', spoke, life });
  }

  /** CPU time of the thread and answers given, so far. One at a time. */
  async cost(): Promise<Answer<'cost'>> {
    const { promise, resolve } = Promise.withResolvers<Answer<'cost'>>();
    this.#heardCost = resolve;
    this.#tell({ type: 'cost' });
    return promise;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }

  #tell(message: ToSpokes): void {
    this.#worker.postMessage(message);
  }
}
