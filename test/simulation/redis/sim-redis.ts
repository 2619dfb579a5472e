/** Redis as processes reach it: over a network that delays and breaks, on a server that fails over and loses writes. */

import type { RedisClient } from '../../../services/store/redis/redis.ts';
import type { FencedScript } from '../../../services/store/redis/scripts.ts';
import { scriptSource } from '../../../services/store/redis/scripts.ts';
import type { Random } from '../random.ts';
import type { Process, VirtualTime } from '../virtual-time.ts';
import { FENCED, fenced, type RedisModel, SCRIPTS } from './redis-model.ts';

/** Clients give a command up after this, ms. */
const COMMAND_TIMEOUT_MS = 5_000;

type Value = string | Buffer;

const BY_SOURCE = new Map(
  Object.entries(SCRIPTS).map(([name, script]) => {
    const source = scriptSource(name as FencedScript);
    return FENCED.has(name)
      ? [`${scriptSource('fence')}\n${source}`, { name, run: fenced(script) }]
      : [source, { name, run: script }];
  }),
);

export type LeaseEvents = {
  /** A fenced write was let through. */
  wrote(lease: string, by: Process): void;
};

export class SimRedis {
  readonly model: RedisModel;
  up = true;
  /** Added to every command, ms. */
  slowMs = 0;
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #reaches: (process: Process) => boolean;
  readonly #events: LeaseEvents;
  /** Commands of one connection keep their order, both ways. */
  readonly #last = new Map<Process, { arrival: number; reply: number }>();

  constructor(
    time: VirtualTime,
    random: Random,
    model: RedisModel,
    reaches: (process: Process) => boolean,
    events: LeaseEvents,
  ) {
    this.#time = time;
    this.#random = random;
    this.model = model;
    this.#reaches = reaches;
    this.#events = events;
  }

  /** A client of one process, with the commands that the store uses. */
  clientOf(process: Process): RedisClient {
    const { model } = this;
    const call = <T>(work: () => T) => this.#call(process, work);
    const text = (value: Value | null) => (value === null ? null : String(value));
    const bytes = (value: Value | null) => (value === null ? null : Buffer.from(value));
    const entries = <T>(key: string, value: (v: Value) => T) =>
      Object.fromEntries(Array.from(model.hash(key), ([field, v]) => [field, value(v)]));
    const ranked = (key: string) =>
      [...model.set(key)]
        .sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
        .map(([member, score]) => ({ member, score }));
    const evaluate = (source: string, count: number, rest: readonly (string | number | Buffer)[]) => {
      const script = BY_SOURCE.get(source);
      if (!script) throw new Error('ERR unknown script');
      const keys = rest.slice(0, count).map(String);
      const args = rest.slice(count).map((value) => (Buffer.isBuffer(value) ? value : String(value)));
      const reply = script.run(model, keys, args);
      const refused = Number(reply) < 0;
      if (FENCED.has(script.name) && !refused) this.#events.wrote(keys[0]!, process);
      return reply;
    };
    const commands = {
      isCluster: false,
      time: () => call(() => [String(Math.floor(model.now() / 1_000)), String((model.now() % 1_000) * 1_000)]),
      hget: (key: string, field: string) => call(() => text(model.hget(key, field))),
      hgetall: (key: string) => call(() => entries(key, String)),
      hgetallBuffer: (key: string) => call(() => entries(key, (value) => Buffer.from(value))),
      hmget: (key: string, ...fields: string[]) => call(() => fields.map((field) => text(model.hget(key, field)))),
      hmgetBuffer: (key: string, ...fields: (string | Buffer)[]) =>
        call(() => fields.map((field) => bytes(model.hget(key, String(field))))),
      hkeys: (key: string) => call(() => [...model.hash(key).keys()]),
      hvalsBuffer: (key: string) => call(() => Array.from(model.hash(key).values(), (value) => Buffer.from(value))),
      hlen: (key: string) => call(() => model.hash(key).size),
      hset: (key: string, ...args: unknown[]) =>
        call(() => {
          const pairs =
            args.length === 1 ? Object.entries(args[0] as Record<string, string>) : [args as [string, string]];
          for (const [field, value] of pairs) model.hset(key, field, value);
          return pairs.length;
        }),
      hsetnx: (key: string, field: string, value: string) => call(() => model.hsetnx(key, field, value)),
      hdel: (key: string, ...fields: string[]) =>
        call(() => fields.reduce((sum, field) => sum + model.hdel(key, field), 0)),
      zadd: (key: string, ...args: (string | number)[]) =>
        call(() => {
          const onlyExisting = args[0] === 'XX';
          const pairs = onlyExisting ? args.slice(1) : args;
          for (let n = 0; n < pairs.length; n += 2)
            model.zadd(key, Number(pairs[n]), String(pairs[n + 1]), onlyExisting);
          return pairs.length / 2;
        }),
      zrem: (key: string, ...members: string[]) => call(() => members.map((member) => model.zrem(key, member)).length),
      zcard: (key: string) => call(() => model.set(key).size),
      zremrangebyscore: (key: string, low: number, high: number) =>
        call(() => {
          for (const { member, score } of ranked(key)) if (score >= low && score <= high) model.zrem(key, member);
          return 0;
        }),
      zmscore: (key: string, ...members: string[]) =>
        call(() => members.map((member) => model.set(key).get(member)?.toString() ?? null)),
      zrangebyscore: (key: string, low: number, high: number, _limit: string, from: number, count: number) =>
        call(() =>
          ranked(key)
            .filter(({ score }) => score >= low && score <= high)
            .slice(from, from + count)
            .map(({ member }) => member),
        ),
      zrange: (key: string, from: string, to: string) =>
        call(() =>
          ranked(key)
            .slice(Number(from), Number(to) + 1)
            .flatMap(({ member, score }) => [member, String(score)]),
        ),
      eval: (source: string, count: number, ...rest: (string | number | Buffer)[]) =>
        call(() => evaluate(source, count, rest)),
      callBuffer: (_eval: string, source: string, count: number, ...rest: (string | number | Buffer)[]) =>
        call(() => evaluate(source, count, rest)),
    };
    return commands as unknown as RedisClient;
  }

  #call<T>(process: Process, work: () => T): Promise<T> {
    const time = this.#time;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const settle = (at: number, how: () => void) =>
      time.at(at, process, () => {
        time.settled();
        how();
      });
    const closed = () => reject(new Error('Connection is closed.'));
    const timeout = time.now + COMMAND_TIMEOUT_MS;
    const timedOut = () => reject(new Error('Command timed out'));
    let last = this.#last.get(process);
    if (!last) {
      last = { arrival: 0, reply: 0 };
      this.#last.set(process, last);
    }
    const order = last;
    if (!this.up) settle(time.now + 1, closed);
    else if (!this.#reaches(process)) settle(timeout, timedOut);
    else {
      order.arrival = Math.max(order.arrival, time.now + this.#latency());
      // The server goes on where a client stops.
      time.at(order.arrival, undefined, () => {
        if (!this.up) return settle(time.now + 1, closed);
        let reply: () => void;
        try {
          this.model.begin();
          const value = work();
          reply = () => resolve(value);
        } catch (error) {
          reply = () => reject(error);
        }
        order.reply = Math.max(order.reply, time.now + this.#latency());
        return this.#reaches(process) && order.reply < timeout ? settle(order.reply, reply) : settle(timeout, timedOut);
      });
    }
    return promise;
  }

  #latency(): number {
    return this.#random.between(0.2, 1) + this.slowMs;
  }
}
