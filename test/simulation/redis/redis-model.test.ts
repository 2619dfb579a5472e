/** The model of Redis that the simulation uses does what the real scripts do on a real Redis. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RedisClient } from '../../../services/store/redis/redis.ts';
import { scriptSource } from '../../../services/store/redis/scripts.ts';
import { privateRedis } from '../../private-redis.ts';
import { FENCED, fenced, RedisModel, SCRIPTS } from './redis-model.ts';

type Call = { readonly name: string; readonly keys: readonly string[]; readonly args: readonly string[] };

/** Keys of each script, in order, and what its arguments look like. */
const K = (name: string) => `dpd:{h/0}:${name}`;
const id = fc.constantFrom('a', 'b', 'c');
const verdict = fc.constantFrom('V1', 'V2');
const epoch = fc.constantFrom('current', 'stale');
const rows = fc.array(fc.tuple(id, fc.constantFrom('a', 'b'), verdict), { maxLength: 4 });
/** Some of these. */
const verdictId = fc.constantFrom('a.a', 'b.a', 'c.a');
/** Sa and keys in one record; too short to be one, too. */
const records = fc.array(fc.tuple(id, fc.constantFrom('\0\x02sa', '\0\x02sakeys', '\0\x01', 'x', '')), {
  maxLength: 3,
});
const packed = ([spi, name, message]: readonly [string, string, string]) =>
  `${String.fromCharCode(spi.length + 1 + name.length, 0, message.length)}${spi}.${name}`;
/** Keys of what is known of failovers, in the order of their scripts; attempts and failures of them as they may stand. */
const STATE = ['attempts', 'failed', 'progress', 'due'];
const attempt = fc.constantFrom('0', '1');
const failed = fc.constantFrom('', 'why');
const flat = (items: readonly (readonly string[])[]) => items.flat();

/** What becomes of failovers. */
const FAILOVER_CALLS = fc.oneof(
  fc.array(fc.tuple(verdictId, attempt, failed), { maxLength: 3 }).map((acks) => ({
    name: 'acknowledge',
    keys: STATE.concat('failover', 'unacked', 'dead-letters').map(K),
    args: flat(acks),
  })),
  fc.constantFrom('1', '2').map((most) => ({
    name: 'due-failovers',
    keys: ['due', 'unacked', 'failover', 'failed', 'progress'].map(K),
    args: [most],
  })),
  fc.array(fc.tuple(verdictId, attempt, failed), { maxLength: 3 }).map((read) => ({
    name: 'wait-failovers',
    keys: STATE.map(K),
    args: read.flatMap((one) => [...one, '{}', '7']),
  })),
  fc.array(fc.tuple(verdictId, attempt, failed, verdict), { maxLength: 3 }).map((read) => ({
    name: 'advance-failovers',
    keys: STATE.concat('failover', 'unacked', 'verdicts').map(K),
    args: [
      '1000',
      ...read.flatMap(([v, present, why, bytes]) => [v, present, why, String(Number(present) + 1), bytes, '{}', '5']),
    ],
  })),
  fc.array(fc.tuple(verdictId, attempt, failed), { maxLength: 3 }).map((read) => ({
    name: 'give-up-failovers',
    keys: STATE.concat('failover', 'unacked', 'dead-letters').map(K),
    args: ['2', ...read.flatMap((one) => [...one, 'letter'])],
  })),
  fc.tuple(verdictId, verdict).map(([v, bytes]) => ({
    name: 'replay-failover',
    keys: ['dead-letters', 'attempts', 'unacked', 'verdicts', 'due'].map(K),
    args: [v, '1', bytes, '1000'],
  })),
);
/** An owner has given these verdicts. */
const GIVEN: readonly Call[] = [
  { name: 'take-lease', keys: [K('lease'), K('checkpoint')], args: ['m', '5000', ''] },
  { name: 'write-sas', keys: [K('lease'), K('sas'), K('dead')], args: ['current', '1/0', '0', '0'] },
  {
    name: 'append-verdicts',
    keys: [K('lease'), K('verdicts'), K('unacked'), K('dead'), K('due')],
    args: ['current', '2/1', '1000', '1000', packed(['a', 'a', 'V1']) + packed(['b', 'a', 'V2']), 'V1V2'],
  },
];
const CALLS = fc.oneof(
  FAILOVER_CALLS,

  fc.tuple(fc.constantFrom('m', 'n'), fc.constantFrom('', 'current', 'stale')).map(([node, holder]) => ({
    name: 'take-lease',
    keys: [K('lease'), K('checkpoint')],
    args: [node, '5000', holder],
  })),
  fc.tuple(epoch, fc.constantFrom('0', '5000')).map(([e, ttl]) => ({
    name: 'renew-lease',
    keys: [K('lease')],
    args: [e, '', ttl],
  })),
  fc.tuple(epoch, records, records, fc.array(id, { maxLength: 2 })).map(([e, keyed, keyless, removed]) => ({
    name: 'write-sas',
    keys: [K('lease'), K('sas'), K('dead'), K('translated')],
    args: [e, '1/0', String(keyed.length), String(keyless.length), ...flat(keyed), ...flat(keyless), ...removed],
  })),
  fc.tuple(epoch, records, records).map(([e, stand, others]) => ({
    name: 'replace-records',
    keys: [K('lease'), K('sas')],
    args: [e, '1/0', ...[...stand, ...others].flatMap(([spi, record]) => [spi, record, `anew ${record}`])],
  })),
  // In one page for sure, and in no order of its own: one SA is enough to hold its form.
  fc.constant({ name: 'read-sas', keys: [K('sas')], args: ['0', '100'] }),
  fc.tuple(epoch, fc.constantFrom('0', '1'), id).map(([e, whole, chunk]) => ({
    name: 'write-checkpoint',
    keys: [K('lease'), K('checkpoint')],
    args: [e, '5/4', '17', '18', whole, chunk, 'rows'],
  })),
  fc.tuple(epoch, rows).map(([e, verdicts]) => ({
    name: 'append-verdicts',
    keys: [K('lease'), K('verdicts'), K('unacked'), K('dead'), K('due')],
    args: [e, '2/1', '1000', '1000', verdicts.map(packed).join(''), verdicts.map(([, , message]) => message).join('')],
  })),
  fc.tuple(epoch, fc.constantFrom('2/2', '9/9')).map(([e, write]) => ({
    name: 'confirm-write',
    keys: [K('lease')],
    args: [e, write],
  })),
  fc.tuple(epoch, fc.array(id, { maxLength: 2 })).map(([e, spis]) => ({
    name: 'revive-sas',
    keys: [K('lease'), K('dead')],
    args: [e, '3/0', ...spis],
  })),
  fc.tuple(epoch, id, fc.constantFrom('1073741824:5', '1073741825:6')).map(([e, spi, ids]) => ({
    name: 'note-translations',
    keys: [K('lease'), K('translated')],
    args: [e, '4/3', spi, ids],
  })),
  fc.tuple(epoch, verdict).map(([e, path]) => ({ name: 'write-path', keys: [K('lease')], args: [e, '4/3', path] })),
  fc.tuple(id, fc.constantFrom('0', '60000')).map(([node, ttl]) => ({
    name: 'beat',
    keys: ['dpd:nodes'],
    args: [node, '{"x":1}', ttl, '600000'],
  })),
);
/** Replies and fields that are moments of Redis's clock. */
const MOMENTS = /\b1[78]\d{11}\b/g;

test('property: any sequence of script calls leaves model and Redis alike', async (t) => {
  const redis = await privateRedis(t);
  const alike = fc.asyncProperty(fc.array(CALLS, { maxLength: 25 }), (calls) => compare(redis, calls));
  await fc.assert(alike, { numRuns: 150 });
});

test('property: so does whatever becomes of failovers', async (t) => {
  const redis = await privateRedis(t);
  const calls = fc.array(FAILOVER_CALLS, { maxLength: 20 });
  const alike = fc.asyncProperty(calls, (steps) => compare(redis, [...GIVEN, ...steps]));
  await fc.assert(alike, { numRuns: 300 });
});

/** Makes the calls of a Redis that is emptied and of a model: both say the same, and have the same in the end. */
async function compare(redis: RedisClient, calls: readonly Call[]): Promise<void> {
  await redis.flushall();
  const model = new RedisModel(() => 1_800_000_000_000);
  let epochs: [real: string, model: string] = ['0', '0'];
  for (const { name, keys, args } of calls) {
    const [real, modelled] = epochs.map((current) =>
      args.map((arg) => (arg === 'current' ? current : arg === 'stale' ? '1' : arg)),
    );
    const source = FENCED.has(name)
      ? `${scriptSource('fence')}\n${scriptSource(name as never)}`
      : scriptSource(name as never);
    const reply = await redis.eval(source, keys.length, ...keys, ...real!);
    const script = FENCED.has(name) ? fenced(SCRIPTS[name]!) : SCRIPTS[name]!;
    const expected = script(model, keys, modelled!);
    if (name === 'take-lease' && expected !== -1) {
      const [realEpoch, , written] = reply as number[];
      const [modelEpoch, , modelWritten] = expected as number[];
      assert.equal(written, modelWritten);
      epochs = [String(realEpoch), String(modelEpoch)];
    } else assert.equal(timeless(sorted(reply)), timeless(sorted(expected)), name);
  }
  assert.equal(timeless(await dump(redis)), timeless(model.dump()));
}

function timeless(state: unknown): string {
  return JSON.stringify(state).replaceAll(MOMENTS, '<moment>');
}

/** Hash order is no part of a contract. */
function sorted(reply: unknown): unknown {
  return Array.isArray(reply) ? [...reply].map(String).sort() : reply;
}

async function dump(redis: RedisClient): Promise<unknown> {
  const hashes: Record<string, unknown> = {};
  const sets: Record<string, unknown> = {};
  const streams: Record<string, unknown> = {};
  for (const key of (await redis.keys('*')).sort()) {
    const type = await redis.type(key);
    if (type === 'hash')
      hashes[key] = Object.fromEntries(Object.entries(await redis.hgetall(key)).sort(([a], [b]) => (a < b ? -1 : 1)));
    else if (type === 'zset') {
      const flatSet = await redis.zrange(key, '0', '-1', 'WITHSCORES');
      const members = flatSet.flatMap((member, n) => (n % 2 === 0 ? [[member, Number(flatSet[n + 1])] as const] : []));
      sets[key] = Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)));
    } else streams[key] = (await redis.xrange(key, '-', '+')).map(([, fields]) => fields[1]);
  }
  return { hashes, sets, streams };
}
