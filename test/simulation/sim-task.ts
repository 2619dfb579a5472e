/** A shard's task in the simulation: the real shard, run at its own next moment instead of every 5 ms. */

import type { ShardEvent, ShardTaskHandle } from '../../services/node/shard/shard-thread.ts';
import { ThreadTimeoutError } from '../../workers/base/errors.ts';
import { wordsHex } from '../../workers/base/spi.ts';
import type { KeyVault } from '../../workers/keys/key-keeper.ts';
import type { KeysPage } from '../../workers/keys/keys-page.ts';
import type { Sender } from '../../workers/net/probe-socket.ts';
import { readCanary } from '../../workers/path/canary.ts';
import { NO_HANDLE } from '../../workers/sa/ids.ts';
import { readSa } from '../../workers/sa/sa-message.ts';
import { RecordCursor, type SaPage } from '../../workers/sa/sa-page.ts';
import type { LeftOut } from '../../workers/shard/intake.ts';
import type { Answer, FromShard, ToShard } from '../../workers/shard/protocol.ts';
import { Shard, type ShardIo } from '../../workers/shard/shard.ts';
import { handleAt, verdictCount } from '../../workers/shard/verdict-rows.ts';
import type { CheckpointPart } from '../../workers/takeover/checkpoint.ts';
import { EPOCH_UNIX, type Process, type VirtualTime } from './virtual-time.ts';

const TICK_MS = 5;
/** Bind and start of a task, ms. */
const START_MS = 5;
/** As for a real thread, ms. */
const ANSWER_MS = 5_000;

type Question = Extract<ToShard, { request: number }>;

/** What a task asks of the simulated world. */
export type TaskWorld = {
  readonly time: VirtualTime;
  readonly fillRandom: ShardIo['fillRandom'];
  readonly vault: KeyVault;
  send(task: SimTask, datagram: Buffer, address: number, port: number): void;
  verdicts(task: SimTask, handles: readonly number[]): void;
  evidence(task: SimTask, handle: number, atMs: number): void;
};

export class SimTask implements ShardTaskHandle {
  readonly process: Process;
  readonly ready: Promise<number>;
  readonly done: Promise<CheckpointPart>;
  /** SPI pair by handle. */
  readonly spis = new Map<number, string>();
  running = true;
  /** It has been told to stop: evidence from now on may or may not be in its last checkpoint. */
  stopping = false;
  /** UDP port that it probes from. */
  readonly port: number;
  /** Its shard's number. */
  readonly shard: number;
  /** When the newest canaries that came home were sent, ms, by direction. */
  readonly homeAt = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  /** The thread does nothing before, ms. */
  #stalledUntil = 0;
  /** When each canary was sent, ms, by direction and number. */
  readonly #canaries = [new Map<number, number>(), new Map<number, number>()] as const;
  readonly #world: TaskWorld;
  readonly #shard: Shard;
  /** Messages that the thread has not read yet. */
  readonly #inbox: (() => void)[] = [];
  readonly #waiting = new Map<number, (body: Answer[keyof Answer]) => void>();
  readonly #finish: (checkpoint: CheckpointPart) => void;
  readonly #fail: (error: Error) => void;
  #request = 0;
  #nextAt = Number.POSITIVE_INFINITY;
  #cancelTick: () => void = () => {};

  constructor(
    world: TaskWorld,
    process: Process,
    from: { readonly port: number; readonly shard: number },
    onEvent: (event: ShardEvent) => void,
  ) {
    this.#world = world;
    this.process = process;
    this.port = from.port;
    this.shard = from.shard;
    const { time } = world;
    const done = Promise.withResolvers<CheckpointPart>();
    this.done = done.promise;
    this.#finish = done.resolve;
    this.#fail = done.reject;
    this.done.catch(() => {});
    this.#shard = new Shard({
      now: () => time.now,
      wall: () => EPOCH_UNIX + time.now + process.bornSkewMs,
      fillRandom: world.fillRandom,
      shard: from.shard,
      vault: world.vault,
      send: (message, address, toPort) => {
        const canary = readCanary(message);
        if (canary) this.#canaries[canary.direction].set(canary.number, time.now);
        world.send(this, Buffer.from(message), address.v4, toPort);
        return true;
      },
      post: (message: FromShard) => {
        time.settled();
        if (message.type === 'answer') {
          this.#waiting.get(message.request)?.(message.body);
          this.#waiting.delete(message.request);
        } else if (message.type !== 'ready') {
          if (message.type === 'verdicts')
            world.verdicts(
              this,
              Array.from({ length: verdictCount(message.rows) }, (_, row) => handleAt(message.rows, row)),
            );
          onEvent(message);
        }
      },
    });
    const ready = Promise.withResolvers<number>();
    this.ready = ready.promise;
    time.at(time.now + START_MS, process, () => {
      time.settled();
      ready.resolve(from.port);
    });
  }

  send(message: Exclude<ToShard, Question>): void {
    this.whenAwake(() => {
      if (message.type === 'upsert') this.#note(message.page);
      if (message.type === 'evidence')
        for (const handle of message.heard) this.#world.evidence(this, handle, message.atMs);
      if (message.type === 'voucher') for (const direction of [0, 1] as const) this.#home(direction, message.canary);
      this.#shard.handle(message);
      this.#tickBy(this.#shard.idleUntilMs);
    });
  }

  ask<T extends Exclude<Question['type'], 'resume' | 'seal'>>(
    type: T,
    handles: readonly number[] = [],
  ): Promise<Answer[T]> {
    return this.#ask(type, (request) => ({ type, request, handles }) as Question);
  }

  seal(keys: KeysPage): Promise<KeysPage> {
    return this.#ask('seal', (request) => ({ type: 'seal', request, keys }));
  }

  resume(page: SaPage): Promise<LeftOut> {
    return this.#ask('resume', (request) => {
      this.#note(page);
      return { type: 'resume', request, page };
    });
  }

  #ask<T extends Question['type']>(type: T, question: (request: number) => Question): Promise<Answer[T]> {
    const request = ++this.#request;
    const { promise, resolve, reject } = Promise.withResolvers<Answer[T]>();
    const { time } = this.#world;
    const cancel = time.at(time.now + ANSWER_MS, this.process, () => {
      this.#waiting.delete(request);
      time.settled();
      reject(new ThreadTimeoutError(`no answer to ${type}`));
    });
    this.#waiting.set(request, (body) => {
      cancel();
      time.settled();
      resolve(body as Answer[T]);
    });
    this.whenAwake(() => {
      this.#shard.handle(question(request));
      this.#tickBy(this.#world.time.now + TICK_MS);
    });
    return promise;
  }

  async stop(): Promise<CheckpointPart | undefined> {
    const { time } = this.#world;
    this.stopping = true;
    const stopped = Promise.withResolvers<CheckpointPart | undefined>();
    const cancel = time.at(time.now + ANSWER_MS, this.process, () => {
      time.settled();
      stopped.resolve(undefined);
    });
    this.done.catch(() => stopped.resolve(undefined));
    this.whenAwake(() => {
      cancel();
      time.settled();
      const checkpoint = this.#shard.checkpoint(true);
      this.#end();
      this.#finish(checkpoint);
      stopped.resolve(checkpoint);
    });
    return stopped.promise;
  }

  /** The thread dies. */
  crash(): void {
    if (!this.running) return;
    this.#end();
    this.#world.time.settled();
    this.#fail(new Error('thread crashed'));
  }

  kill(): void {
    this.crash();
  }

  /** A canary came home. */
  receiveCanary(datagram: Buffer, sender: Sender): void {
    const { direction, number } = readCanary(datagram)!;
    this.whenAwake(() => {
      this.#home(direction, number);
      this.#shard.receive(datagram, sender);
      this.#tickBy(this.#world.time.now + TICK_MS);
    });
  }

  #home(direction: 0 | 1, number: number): void {
    // A headend vouches for both directions with a canary that went out.
    const sentAt = this.#canaries[direction].get(number) ?? this.#canaries[0].get(number);
    if (sentAt === undefined) return;
    this.homeAt[direction] = Math.max(this.homeAt[direction]!, sentAt);
    const sent = this.#canaries[direction];
    for (const [canary, at] of sent) if (at < this.#world.time.now - 60_000) sent.delete(canary);
  }

  /** A datagram arrived. Returns whether it proved life. */
  receive(datagram: Buffer, sender: Sender): boolean {
    const before = this.#shard.counters().probesAnswered;
    this.#shard.receive(datagram, sender);
    this.#tickBy(this.#world.time.now + TICK_MS);
    return this.#shard.counters().probesAnswered > before;
  }

  /** Remembers which SAs the page's handles are. */
  #note(page: SaPage): void {
    for (const cursor = new RecordCursor(page); cursor.next(); ) {
      const handle = page.handles[cursor.row]!;
      if (handle !== NO_HANDLE) this.spis.set(handle, wordsHex(readSa(cursor.reader, cursor.saEnd).spi));
    }
  }

  /** The thread stalls until then, ms. */
  stall(until: number): void {
    this.#stalledUntil = Math.max(this.#stalledUntil, until);
  }

  /** A stall ends: delayed events run now. */
  goOn(): void {
    const { time } = this.#world;
    if (this.#stalledUntil <= time.now) return;
    this.#stalledUntil = time.now;
    time.at(time.now, this.process, () => {
      this.#readInbox();
      this.#tickBy(time.now);
    });
  }

  /** Runs now, or when the thread goes on; behind what came before. */
  whenAwake(work: () => void): void {
    this.#inbox.push(work);
    this.#readInbox();
  }

  #readInbox(): void {
    const { time } = this.#world;
    while (this.running && this.#inbox.length > 0 && time.now >= this.#stalledUntil) this.#inbox.shift()!();
    if (this.running && this.#inbox.length > 0) time.at(this.#stalledUntil, this.process, () => this.#readInbox());
  }

  #tickBy(at: number): void {
    const { time } = this.#world;
    const due = Math.max(Math.ceil(at / TICK_MS) * TICK_MS, time.now);
    if (due >= this.#nextAt || !this.running) return;
    this.#cancelTick();
    if (due === Number.POSITIVE_INFINITY) return;
    this.#nextAt = due;
    this.#cancelTick = time.at(due, this.process, () => {
      this.#nextAt = Number.POSITIVE_INFINITY;
      if (!this.running) return;
      if (time.now < this.#stalledUntil) return this.#tickBy(this.#stalledUntil);
      this.#shard.tick();
      this.#tickBy(Math.max(this.#shard.idleUntilMs, time.now + TICK_MS));
    });
  }

  #end(): void {
    this.running = false;
    this.#cancelTick();
  }
}
