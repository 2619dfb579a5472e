import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger, type Logger } from '../../../services/base/log.ts';

type Line = Readonly<Record<string, unknown>>;

function logger(level = 'info'): { log: Logger; lines: Line[] } {
  const lines: Line[] = [];
  return { log: createLogger('test', level, { write: (line) => void lines.push(JSON.parse(line) as Line) }), lines };
}

test('a storm of 20,000 deaths, over many shards, is a few lines and a sum', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { log, lines } = logger();
  const shards = Array.from({ length: 16 }, (_, shard) => log.child({ shard }));
  for (let n = 0; n < 1_000; n++) shards[n % 16]!.warn({ peer: `branch-${n}`, reason: 'silent' }, 'peer is dead');
  for (let n = 0; n < 190; n++) shards[n % 16]!.warn({ verdicts: 100 }, 'more peers are dead');
  assert.equal(lines.length, 40);
  t.mock.timers.tick(10_000);
  const [dead, more] = lines.slice(40);
  assert.equal(lines.length, 42);
  assert.deepEqual([dead!['msg'], dead!['more'], dead!['level']], ['peer is dead: more of these', 980, 40]);
  assert.deepEqual([more!['more'], more!['verdicts']], [170, 17_000]);
  log.warn({ peer: 'branch-1' }, 'peer is dead');
  assert.equal(lines.length, 43, 'the next window begins with lines again');
});

test('events do not drown each other, and what is asked for at debug is all told', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { log, lines } = logger('debug');
  for (let n = 0; n < 100; n++) log.info({ n }, 'verdict applied');
  log.error({ reason: 'x' }, 'verdict not applied');
  log.info('working');
  assert.equal(lines.length, 22);
  for (let n = 0; n < 100; n++) log.debug({ n }, 'detail');
  assert.equal(lines.length, 122);
});

test('every line of the audit is told', () => {
  const { log, lines } = logger();
  for (let n = 0; n < 100; n++) log.info({ n }, 'audit');
  assert.equal(lines.length, 100);
});
