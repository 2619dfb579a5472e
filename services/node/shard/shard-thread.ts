/** A shard's Piscina task as the main thread sees it: messages out, events in, questions with a deadline. */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import { ThreadTimeoutError } from '../../../workers/base/errors.ts';
import type { KeysPage } from '../../../workers/keys/keys-page.ts';
import { placeProbeSockets } from '../../../workers/net/open-probe-socket.ts';
import { buffersOf, type SaPage } from '../../../workers/sa/sa-page.ts';
import type { LeftOut } from '../../../workers/shard/intake.ts';
import type { Answer, FromShard, ShardTask, ToShard } from '../../../workers/shard/protocol.ts';
import type { CheckpointPart } from '../../../workers/takeover/checkpoint.ts';
import { MONOTONIC_ZERO_UNIX } from '../../base/clock.ts';

/** Longest wait for a thread's answer, ms. */
const ANSWER_MS = 5_000;
const STOP_MS = 5_000;

type Question = Extract<ToShard, { request: number }>;
/** Messages that a shard sends unasked. */
export type ShardEvent = Exclude<FromShard, { type: 'answer' | 'ready' }>;
/** A shard's task, wherever it runs. */
export type ShardTaskHandle = Pick<
  ShardThread,
  'ready' | 'done' | 'send' | 'ask' | 'seal' | 'resume' | 'stop' | 'kill'
>;
/** Where a shard probes from, and its number. */
export type ProbeFrom = {
  readonly address: string;
  /** undefined: not by IPv6. */
  readonly address6: string | undefined;
  readonly port: number;
  readonly shard: number;
};
/** Starts a shard. */
export type StartShardTask = (probe: ProbeFrom, onEvent: (event: ShardEvent) => void) => ShardTaskHandle;

export class ShardThread {
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (body: Answer[keyof Answer]) => void>();
  readonly #pool: Piscina;
  /** Id of the thread that runs the shard, once it runs. */
  #threadId: number | undefined;
  #request = 0;
  /** UDP port of the probe socket, once the shard runs. */
  readonly ready: Promise<number>;
  /** Resolves with the whole checkpoint when the task is told to stop; rejects when its thread dies. */
  readonly done: Promise<CheckpointPart>;

  /**
   * @param probesPerSecond budget of each thread
   * @param vaultKeys of the vault that sealed the keys in Redis
   */
  constructor(
    pool: Piscina,
    probe: ProbeFrom,
    probesPerSecond: number,
    vaultKeys: readonly Uint8Array[],
    onEvent: (event: ShardEvent) => void,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#pool = pool;
    const task = { port: port2, shard: probe.shard, probesPerSecond, zeroUnix: MONOTONIC_ZERO_UNIX, vaultKeys };
    this.done = runOn(pool, probe, task);
    const ready = Promise.withResolvers<number>();
    this.ready = ready.promise;
    this.done.then(
      () => ready.reject(new Error('shard stopped before it was ready')),
      (error) => ready.reject(error),
    );
    // Both outcomes are also reported through `done`.
    ready.promise.catch(() => {});
    port1.on('message', (message: FromShard) => {
      if (message.type === 'ready') {
        this.#threadId = message.threadId;
        ready.resolve(message.probePort);
      } else if (message.type === 'answer') {
        this.#waiting.get(message.request)?.(message.body);
        this.#waiting.delete(message.request);
      } else onEvent(message);
    });
  }

  send(message: Exclude<ToShard, Question>, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  /** Asks and waits. `more` is what the question has besides handles. Rejects with ThreadTimeoutError after 5 s. */
  ask<T extends Exclude<Question['type'], 'resume' | 'seal'>>(
    type: T,
    handles: readonly number[] = [],
    more: Readonly<Record<string, number>> = {},
  ): Promise<Answer[T]> {
    return this.#ask(type, { handles, ...more }, []);
  }

  /** Has keys sealed, in place; their page is transferred. Rejects with ThreadTimeoutError after 5 s. */
  seal(keys: KeysPage): Promise<KeysPage> {
    return this.#ask('seal', { keys }, [keys.spis.buffer, keys.ends.buffer, keys.bytes.buffer]);
  }

  /** Has SAs of former owners taken up; their page is transferred. Rejects with ThreadTimeoutError after 5 s. */
  resume(page: SaPage): Promise<LeftOut> {
    return this.#ask('resume', { page }, buffersOf(page));
  }

  #ask<T extends Question['type']>(type: T, question: object, transfer: ArrayBuffer[]): Promise<Answer[T]> {
    const request = ++this.#request;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(request);
        reject(new ThreadTimeoutError(`shard thread did not answer ${type} in ${ANSWER_MS} ms`));
      }, ANSWER_MS);
      this.#waiting.set(request, (body) => {
        clearTimeout(timer);
        resolve(body as Answer[T]);
      });
      this.#port.postMessage({ type, request, ...question }, transfer);
    });
  }

  /** Ends the thread, whatever it does, and with it every other shard there. */
  kill(): void {
    // Piscina would give a task with an abort signal a thread of its own.
    void this.#pool.threads.find(({ threadId }) => threadId === this.#threadId)?.terminate();
  }

  /** Stops the shard. Returns the whole checkpoint, or undefined if the thread is gone or does not answer. */
  async stop(): Promise<CheckpointPart | undefined> {
    this.#port.postMessage({ type: 'stop' });
    const timeout = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => timeout.resolve(undefined), STOP_MS);
    try {
      return await Promise.race([this.done, timeout.promise]);
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
      this.#port.close();
    }
  }
}

/** Runs a task whose socket is closed when it has ended, or its thread has died. */
async function runOn(pool: Piscina, probe: ProbeFrom, rest: Omit<ShardTask, 'probe'>): Promise<CheckpointPart> {
  let socket: ReturnType<typeof placeProbeSockets> | undefined;
  try {
    socket = placeProbeSockets(probe.address, probe.address6, probe.port);
    const task: ShardTask = { probe: socket.place, ...rest };
    // Piscina 5.3's type of a transfer list resolves to another overload's options under Node 26's types.
    return await pool.run(task, { transferList: [rest.port] as never });
  } finally {
    socket?.close();
    // Unless the thread has the socket, and closes it itself.
    rest.port.close();
  }
}
