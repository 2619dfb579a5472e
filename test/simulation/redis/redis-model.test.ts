/** The model of Redis that the simulation uses does what the real scripts do on a real Redis. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RedisClient } from '../../../services/store/redis/redis.ts';
import { scriptSource } from '../../../services/store/redis/scripts.ts';
import { privateRedis } from '../../private-redis.ts';
import { FENCED, fenced, RedisModel, SCRIPTS } from './redis-model.ts';

/** Keys of each script, in order, and what its arguments look like. */
const K = (name: string) => `dpd:{h/0}:${name}`;
const id = fc.constantFrom('a', 'b', 'c');
const verdict = fc.constantFrom('V1', 'V2');
const epoch = fc.constantFrom('current', 'stale');
const rows = fc.array(fc.tuple(id, id, verdict), { maxLength: 4 });
/** Sa and keys in one record; too short to be one, too. */
const records = fc.array(fc.tuple(id, fc.constantFrom('\0\x02sa', '\0\x02sakeys', '\0\x01', 'x', '')), {
  maxLength: 3,
});
const packed = ([spi, name, message]: readonly [string, string, string]) =>
  `${String.fromCharCode(spi.length + 1 + name.length, 0, message.length)}${spi}.${name}`;
const flat = (items: readonly (readonly string[])[]) => items.flat();

const CALLS = fc.oneof(
  fc
    .tuple(fc.constantFrom('m', 'n'), fc.constantFrom('', 'current', 'stale'), fc.constantFrom('0', '1'))
    .map(([node, holder, attended]) => ({
      name: 'take-lease',
      keys: [K('lease'), K('checkpoint')],
      args: [node, '5000', holder, attended, '9000'],
    })),
  fc.tuple(epoch, fc.constantFrom('0', '5000'), fc.constantFrom('0', '1')).map(([e, ttl, attended]) => ({
    name: 'renew-lease',
    keys: [K('lease')],
    args: [e, '', ttl, attended],
  })),
  fc.tuple(epoch, records, records, fc.array(id, { maxLength: 2 })).map(([e, keyed, keyless, removed]) => ({
    name: 'write-sas',
    keys: [K('lease'), K('sas'), K('dead')],
    args: [e, '1/0', String(keyed.length), String(keyless.length), ...flat(keyed), ...flat(keyless), ...removed],
  })),
  fc.constant({ name: 'read-history', keys: [K('lease')], args: [] }),
  // In one page for sure, and in no order of its own: one SA is enough to hold its form.
  fc.constant({ name: 'read-sas', keys: [K('sas')], args: ['0', '100'] }),
  fc.tuple(epoch, fc.constantFrom('0', '1'), fc.constantFrom('0', '1'), id).map(([e, final, whole, chunk]) => ({
    name: 'write-checkpoint',
    keys: [K('lease'), K('checkpoint')],
    args: [e, '5/4', '17', '18', final, whole, chunk, 'rows'],
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
  fc.tuple(epoch, verdict).map(([e, path]) => ({ name: 'write-path', keys: [K('lease')], args: [e, '4/3', path] })),
  fc.array(fc.tuple(id, fc.constantFrom('0', '1'), verdict), { maxLength: 3 }).map((acks) => ({
    name: 'acknowledge',
    keys: [K('unacked'), K('failover'), K('acks'), K('attempts'), K('due')],
    args: flat(acks),
  })),
  fc.tuple(id, fc.constantFrom('0', '1'), verdict).map(([v, attempt, bytes]) => ({
    name: 'advance-failovers',
    keys: ['failover', 'attempts', 'acks', 'unacked', 'verdicts', 'pursuits', 'due'].map(K),
    args: [v, attempt, String(Number(attempt) + 1), bytes, '{}', '1000', '5'],
  })),
  fc.tuple(id, fc.constantFrom('', 'letter')).map(([v, letter]) => ({
    name: 'end-failover',
    keys: ['failover', 'attempts', 'acks', 'pursuits', 'due', 'dead-letters'].map(K),
    args: [v, letter, '2'],
  })),
  fc.tuple(id, verdict).map(([v, bytes]) => ({
    name: 'replay-failover',
    keys: ['dead-letters', 'attempts', 'unacked', 'verdicts', 'due'].map(K),
    args: [v, '1', bytes, '1000'],
  })),
  fc.tuple(id, fc.constantFrom('0', '60000')).map(([node, ttl]) => ({
    name: 'beat',
    keys: ['dpd:nodes'],
    args: [node, '{"x":1}', ttl, '600000'],
  })),
);
/** Replies and fields that are moments of Redis's clock. */
const MOMENTS = /\b1[78]\d{11}\b/g;
/** Names of histories. */
const HISTORIES = /\b[0-9a-f]{40}\b/g;

test('property: any sequence of script calls leaves model and Redis alike', async (t) => {
  const redis = await privateRedis(t);
  await fc.assert(
    fc.asyncProperty(fc.array(CALLS, { maxLength: 25 }), async (calls) => {
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
          const [realEpoch, final, remaining] = reply as number[];
          const [modelEpoch, modelFinal, modelRemaining] = expected as number[];
          assert.equal(final, modelFinal);
          // Redis's clock goes on between calls, the model's does not.
          assert(Math.abs(remaining! - modelRemaining!) < 1_000, `${remaining} ms, not ${modelRemaining}`);
          epochs = [String(realEpoch), String(modelEpoch)];
        } else assert.equal(timeless(sorted(reply)), timeless(sorted(expected)), name);
      }
      assert.equal(timeless(await dump(redis)), timeless(model.dump()));
    }),
    { numRuns: 150 },
  );
});

function timeless(state: unknown): string {
  return JSON.stringify(state).replaceAll(MOMENTS, '<moment>').replaceAll(HISTORIES, '<history>');
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
