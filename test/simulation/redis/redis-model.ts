/**
 * Redis as far as the store uses it, in memory: hashes, sorted sets, streams, and the scripts by their contracts.
 * redis-model.test.ts holds it against the real scripts on a real Redis. It can take back its last writes, as a replica
 * does that is promoted before it has seen them.
 */

import type { FencedScript } from '../../../services/store/redis/scripts.ts';

type Value = string | Buffer;
type Hash = Map<string, Value>;
type Undo = { readonly at: number; readonly run: () => void };
type Script = (db: RedisModel, keys: readonly string[], args: readonly Value[]) => unknown;

/** Writes older than this are never taken back, ms. */
const UNDO_MS = 15_000;

export class RedisModel {
  #hashes = new Map<string, Hash>();
  #sets = new Map<string, Map<string, number>>();
  #streams = new Map<string, Value[]>();
  readonly #undo: Undo[] = [];
  /** Unix ms. */
  readonly now: () => number;
  /** Commands that need memory fail; those of a script do not once it has written something. */
  full = false;
  #written = false;

  constructor(now: () => number) {
    this.now = now;
  }

  /** Forgets everything, as a server does that is restarted without its file. */
  flush(): void {
    this.#hashes = new Map();
    this.#sets = new Map();
    this.#streams = new Map();
    this.#undo.length = 0;
  }

  /** Takes back what was written in the last `ms`. */
  loseLast(ms: number): void {
    const since = this.now() - ms;
    for (let last = this.#undo.at(-1); last && last.at >= since; last = this.#undo.at(-1)) {
      this.#undo.pop();
      last.run();
    }
  }

  /** Everything, for comparison. */
  dump(): unknown {
    const plain = <T>(map: Map<string, T>, value: (item: T) => unknown) =>
      Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, value(item)]));
    return {
      hashes: plain(this.#hashes, (hash) => plain(hash, String)),
      sets: plain(this.#sets, (set) => plain(set, Number)),
      streams: plain(this.#streams, (stream) => stream.map(String)),
    };
  }

  hget(key: string, field: string): Value | null {
    return this.#hashes.get(key)?.get(field) ?? null;
  }

  hash(key: string): ReadonlyMap<string, Value> {
    return this.#hashes.get(key) ?? new Map();
  }

  hset(key: string, field: string, value: Value): void {
    this.#writable();
    let hash = this.#hashes.get(key);
    if (!hash) {
      hash = new Map();
      this.#hashes.set(key, hash);
    }
    const old = hash.get(field);
    hash.set(field, value);
    this.#log(() => (old === undefined ? this.#hdel(key, field) : this.#hashes.get(key)!.set(field, old)));
  }

  hsetnx(key: string, field: string, value: Value): number {
    if (this.hget(key, field) !== null) return 0;
    this.hset(key, field, value);
    return 1;
  }

  hdel(key: string, field: string): number {
    this.#written = true;
    const old = this.#hashes.get(key)?.get(field);
    if (old === undefined) return 0;
    this.#hdel(key, field);
    this.#log(() => {
      const hash = this.#hashes.get(key) ?? new Map<string, Value>();
      this.#hashes.set(key, hash.set(field, old));
    });
    return 1;
  }

  set(key: string): ReadonlyMap<string, number> {
    return this.#sets.get(key) ?? new Map();
  }

  zadd(key: string, score: number, member: string, onlyExisting = false): void {
    this.#writable();
    const set = this.#sets.get(key) ?? new Map<string, number>();
    const old = set.get(member);
    if (onlyExisting && old === undefined) return;
    this.#sets.set(key, set.set(member, score));
    this.#log(() => (old === undefined ? this.#zrem(key, member) : this.#sets.get(key)!.set(member, old)));
  }

  zrem(key: string, member: string): void {
    this.#written = true;
    const old = this.#sets.get(key)?.get(member);
    if (old === undefined) return;
    this.#zrem(key, member);
    this.#log(() => {
      const set = this.#sets.get(key) ?? new Map<string, number>();
      this.#sets.set(key, set.set(member, old));
    });
  }

  xadd(key: string, value: Value): void {
    this.#writable();
    const stream = this.#streams.get(key) ?? [];
    stream.push(value);
    this.#streams.set(key, stream);
    this.#log(() => {
      stream.pop();
      if (stream.length === 0) this.#streams.delete(key);
    });
  }

  stream(key: string): readonly Value[] {
    return this.#streams.get(key) ?? [];
  }

  #hdel(key: string, field: string): void {
    const hash = this.#hashes.get(key)!;
    hash.delete(field);
    if (hash.size === 0) this.#hashes.delete(key);
  }

  #zrem(key: string, member: string): void {
    const set = this.#sets.get(key)!;
    set.delete(member);
    if (set.size === 0) this.#sets.delete(key);
  }

  /** Begins a script or a command. */
  begin(): void {
    this.#written = false;
  }

  /** A command that needs memory is about to write. */
  #writable(): void {
    if (this.full && !this.#written) throw new Error("OOM command not allowed when used memory > 'maxmemory'.");
    this.#written = true;
  }

  #log(run: () => void): void {
    const now = this.now();
    this.#undo.push({ at: now, run });
    if (this.#undo.length > 8_192 && this.#undo[4_096]!.at < now - UNDO_MS) this.#undo.splice(0, 4_096);
  }
}

const SPI_PAIR = /^[0-9a-f]{32}$/;

/** The scripts of services/store/scripts, by name. Those behind the fence are wrapped by {@link fenced}. */
export const SCRIPTS: Readonly<Record<string, Script>> = {
  'take-lease'(db, [lease, checkpoint], [node, ttl, holder]) {
    const now = db.now();
    const held = db.hget(lease!, 'epoch');
    if (held !== null && String(holder) !== '' && String(held) !== String(holder)) return -1;
    const epoch = Math.max(Number(held ?? 0) + 1, now);
    const written = held === null ? -1 : Number(db.hget(lease!, 'written') ?? 0);
    db.hset(lease!, 'epoch', String(epoch));
    db.hset(lease!, 'node', node!);
    db.hset(lease!, 'written', '0');
    db.hset(lease!, 'until', String(now + Number(ttl)));
    db.hsetnx(checkpoint!, 'taken', String(now));
    return [epoch, now, written];
  },
  'renew-lease'(db, [lease], [, , ttl]) {
    db.hset(lease!, 'until', Number(ttl) === 0 ? '0' : String(db.now() + Number(ttl)));
    return [Number(db.hget(lease!, 'written') ?? 0), db.now()];
  },
  'write-sas'(db, [, sas, dead, translated], [, , withKeys, without, ...rest]) {
    const keyless = 2 * Number(withKeys);
    const removed = keyless + 2 * Number(without);
    for (let n = 0; n < removed; n += 2) {
      const [spi, record] = [String(rest[n]), rest[n + 1]!];
      const old = n < keyless ? null : db.hget(sas!, spi);
      const held = old === null ? Buffer.alloc(0) : Buffer.from(old);
      const keys = held.length > 1 ? held.subarray(2 + held.readUInt16BE(0)) : Buffer.alloc(0);
      db.hset(sas!, spi, Buffer.concat([Buffer.from(record), keys]));
    }
    for (const spi of rest.slice(removed)) for (const key of [sas!, dead!, translated!]) db.hdel(key, String(spi));
    return 1;
  },
  'replace-records'(db, [, sas], [, , ...changes]) {
    for (let n = 0; n < changes.length; n += 3) {
      const held = db.hget(sas!, String(changes[n]));
      if (held !== null && Buffer.from(held).equals(Buffer.from(changes[n + 1]!)))
        db.hset(sas!, String(changes[n]), changes[n + 2]!);
    }
    return 1;
  },
  'read-sas'(db, [sas]) {
    const all = Array.from(db.hash(sas!), ([spi, record]) => ({ spi, record: Buffer.from(record) }));
    const records = all.filter(({ spi }) => SPI_PAIR.test(spi));
    const others = all.filter(({ spi }) => !SPI_PAIR.test(spi));
    const ends = Buffer.alloc(4 * records.length);
    let length = 0;
    records.forEach(({ record }, n) => {
      length += record.length;
      ends.writeUInt32LE(length, 4 * n);
    });
    const joined = (part: (one: { spi: string; record: Buffer }) => Uint8Array) => Buffer.concat(records.map(part));
    const [spis, bytes] = [joined(({ spi }) => Buffer.from(spi)), joined(({ record }) => record)];
    return [Buffer.from('0'), spis, ends, bytes, others.map(({ spi }) => Buffer.from(spi))];
  },
  'write-checkpoint'(db, [, checkpoint], [, , at, taken, whole, ...chunks]) {
    if (String(whole) === '1') for (const field of [...db.hash(checkpoint!).keys()]) db.hdel(checkpoint!, field);
    db.hset(checkpoint!, 'at', at!);
    db.hset(checkpoint!, 'taken', taken!);
    for (let n = 0; n < chunks.length; n += 2) db.hset(checkpoint!, String(chunks[n]), chunks[n + 1]!);
    return 1;
  },
  'append-verdicts'(db, [, log, unacked, dead, due], [, , , delay, verdicts, messages]) {
    const packed = Buffer.from(verdicts!);
    const bytes = Buffer.from(messages!);
    const entry: Buffer[] = [];
    for (let [at, to] = [0, 0]; at < packed.length; ) {
      const from = to;
      to += packed.readUInt16BE(at + 1);
      const idAt = at + 3;
      at = idAt + packed[at]!;
      const id = packed.toString('latin1', idAt, at);
      const verdict = Buffer.from(bytes.subarray(from, to));
      if (db.hsetnx(dead!, id.split('.')[0]!, id) === 0) continue;
      entry.push(verdict);
      db.hset(unacked!, id, verdict);
      db.zadd(due!, db.now() + Number(delay), id);
    }
    if (entry.length > 0) db.xadd(log!, Buffer.concat(entry));
    return 1;
  },
  'confirm-write'(db, [lease], [, write]) {
    db.hset(lease!, 'confirmed', write!);
    return 1;
  },
  'revive-sas'(db, [, dead], [, , ...spis]) {
    for (const spi of spis) db.hdel(dead!, String(spi));
    return 1;
  },
  'note-translations'(db, [, translated], [, , ...pairs]) {
    for (let n = 0; n < pairs.length; n += 2) db.hset(translated!, String(pairs[n]), pairs[n + 1]!);
    return 1;
  },
  'write-path'(db, [lease], [, , path]) {
    db.hset(lease!, 'path', path!);
    return 1;
  },
  acknowledge(db, [attempts, failed, progress, due, failover, unacked, letters], answers) {
    const known: number[] = [];
    for (let n = 0; n < answers.length; n += 3) {
      const verdict = String(answers[n]);
      const message = db.hget(unacked!, verdict);
      const waits = message !== null && String(answers[n + 1]) === String(db.hget(attempts!, verdict) ?? '0');
      known.push(waits ? 1 : 0);
      if (!waits) continue;
      db.hdel(unacked!, verdict);
      const why = answers[n + 2]!;
      if (String(why) === '') db.hdel(letters!, verdict);
      if (String(why) !== '' && db.set(due!).has(verdict)) {
        db.hset(failover!, verdict, message);
        db.hset(failed!, verdict, why);
        db.zadd(due!, 0, verdict);
        continue;
      }
      for (const key of [attempts!, progress!]) db.hdel(key, verdict);
      db.zrem(due!, verdict);
    }
    return known;
  },
  'due-failovers'(db, [due, unacked, failover, failed, progress], [most]) {
    const now = db.now();
    const order = [...db.set(due!)].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1));
    const ids = order.filter(([, score]) => score <= now).slice(0, Number(most));
    if (ids.length === 0) return [now, Buffer.from(String(order[0]?.[1] ?? ''))];
    const found: (number | Buffer)[] = [now, Buffer.alloc(0)];
    for (const [id] of ids) {
      const verdict = db.hget(unacked!, id) ?? db.hget(failover!, id);
      if (verdict === null) db.zrem(due!, id);
      else
        for (const value of [id, verdict, db.hget(failed!, id) ?? '', db.hget(progress!, id) ?? ''])
          found.push(Buffer.from(value));
    }
    return found;
  },
  'wait-failovers'(db, keys, args) {
    const [, , progress, due] = keys;
    for (let n = 0; n < args.length; n += 5) {
      const [id, attempt, why, state, dueAt] = args.slice(n, n + 5).map(String);
      if (!stands(db, keys, id!, attempt!, why!)) continue;
      db.hset(progress!, id!, state!);
      db.zadd(due!, Number(dueAt), id!);
    }
    return 1;
  },
  'advance-failovers'(db, keys, args) {
    const [attempts, failed, progress, due, failover, unacked, log] = keys;
    const entry: Buffer[] = [];
    const begun: number[] = [];
    for (let n = 1; n < args.length; n += 7) {
      const [id, attempt, why, next, , state, dueAt] = args.slice(n, n + 7).map(String);
      const may = stands(db, keys, id!, attempt!, why!);
      begun.push(may ? 1 : 0);
      if (!may) continue;
      db.hset(attempts!, id!, next!);
      db.hdel(failed!, id!);
      db.hset(progress!, id!, state!);
      db.zadd(due!, Number(dueAt), id!);
      db.hdel(failover!, id!);
      db.hset(unacked!, id!, args[n + 4]!);
      entry.push(Buffer.from(args[n + 4]!));
    }
    if (entry.length > 0) db.xadd(log!, Buffer.concat(entry));
    return begun;
  },
  'give-up-failovers'(db, keys, [most, ...args]) {
    const [attempts, failed, progress, due, failover, unacked, letters] = keys;
    const ended: number[] = [];
    for (let n = 0; n < args.length; n += 4) {
      const [id, attempt, why, letter] = args.slice(n, n + 4).map(String);
      if (!stands(db, keys, id!, attempt!, why!)) {
        ended.push(0);
        continue;
      }
      if (db.hget(unacked!, id!) === null) db.hdel(attempts!, id!);
      for (const key of [failed!, progress!, failover!]) db.hdel(key, id!);
      db.zrem(due!, id!);
      const room = db.hash(letters!).size < Number(most);
      if (room) db.hset(letters!, id!, letter!);
      ended.push(room ? 1 : 2);
    }
    return ended;
  },
  'replay-failover'(db, [letters, attempts, unacked, log, due], [id, attempt, verdict]) {
    const name = String(id);
    if (db.hdel(letters!, name) === 0) return 0;
    db.hset(attempts!, name, String(attempt));
    db.hset(unacked!, name, verdict!);
    db.xadd(log!, verdict!);
    db.zadd(due!, 0, name);
    return 1;
  },
  beat(db, [nodes], [node, description, ttl, forget]) {
    const now = db.now();
    if (String(ttl) === '0') db.hdel(nodes!, String(node));
    else db.hset(nodes!, String(node), `${now + Number(ttl)} ${description}`);
    const live: string[] = [];
    for (const [name, text] of db.hash(nodes!)) {
      const [until, ...rest] = String(text).split(' ');
      if (Number(until) > now) live.push(name, rest.join(' '));
      else if (Number(until) + Number(forget) < now) db.hdel(nodes!, name);
    }
    return live;
  },
};

/** Whether a failover is as it was read: the head of the scripts that take a step of some. */
function stands(
  db: RedisModel,
  [attempts, failed, , due]: readonly string[],
  id: string,
  attempt: string,
  why: string,
): boolean {
  const present = String(db.hget(attempts!, id) ?? '0') === attempt;
  return db.set(due!).has(id) && present && (db.hget(failed!, id) !== null) === (why !== '');
}

/** Scripts that run behind the fence. */
export const FENCED: ReadonlySet<string> = new Set<FencedScript>([
  'renew-lease',
  'write-sas',
  'replace-records',
  'write-checkpoint',
  'append-verdicts',
  'confirm-write',
  'revive-sas',
  'write-path',
  'note-translations',
]);

/** A script behind the fence: see fence.lua. */
export function fenced(script: Script): Script {
  return (db, keys, args) => {
    const held = db.hget(keys[0]!, 'epoch');
    if (held === null) return -2;
    if (String(held) !== String(args[0])) return -1;
    const [, write, before] = /^(\d+)\/(\d+)$/.exec(String(args[1])) ?? [];
    if (write !== undefined) {
      const known = Number(db.hget(keys[0]!, 'written') ?? 0);
      if (known < Number(before)) return -3;
      if (known < Number(write)) db.hset(keys[0]!, 'written', write);
    }
    return script(db, keys, args);
  };
}
