import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Redelivery } from '../../../../services/node/verdicts/redelivery.ts';

/** The moments, s, at which an unanswered verdict is delivered, with one turn a second. */
function moments(redelivery: Redelivery, untilS: number, from = 0): number[] {
  const seen: number[] = [];
  for (let s = from; s <= untilS; s++)
    for (const name of redelivery.turn(['v'], s * 1_000)) {
      redelivery.delivered(name, s * 1_000);
      seen.push(s);
    }
  return seen;
}

test('a verdict that is not answered comes again less and less often, every five minutes in the end', () => {
  assert.deepEqual(moments(new Redelivery(), 1_300), [0, 10, 30, 70, 150, 310, 610, 910, 1_210]);
});

test('one that the headend is at work on does not come again; one whose answer was lost comes at once', () => {
  const redelivery = new Redelivery();
  assert.deepEqual(moments(redelivery, 10), [0, 10]);
  redelivery.underWay('v', 10_500);
  assert.deepEqual(moments(redelivery, 2_000, 11), []);
  redelivery.answerLost('v');
  assert.deepEqual(moments(redelivery, 2_011, 2_001), [2_001, 2_011]);
});

test('what was never delivered cannot be under way', () => {
  const redelivery = new Redelivery();
  redelivery.underWay('v', 0);
  assert.deepEqual(redelivery.turn(['v'], 1), ['v']);
});

test('a turn is bounded, and begins with what the stream has not seen', () => {
  const redelivery = new Redelivery();
  const names = Array.from({ length: 5_000 }, (_, n) => `v${n}`);
  const seen = new Set<string>();
  // By the fourth turn the first are due again.
  for (const atMs of [0, 4_000, 8_000]) {
    const turn = redelivery.turn(names, atMs);
    assert(turn.length <= 2_000);
    for (const name of turn) {
      redelivery.delivered(name, atMs);
      seen.add(name);
    }
  }
  assert.equal(seen.size, 5_000);
  const late = ['new', ...names];
  assert.equal(redelivery.turn(late.reverse(), 40_000)[0], 'new');
});

test('only what waits is remembered, but not forgotten because it came while the turn was on its way', () => {
  const redelivery = new Redelivery();
  redelivery.delivered('gone', 1_000);
  redelivery.delivered('young', 3_000);
  assert.deepEqual(redelivery.turn([], 2_000), []);
  assert.equal(redelivery.isDue('gone', 3_000), true, 'Redis has it again: it was answered, and the answer is lost');
  assert.equal(redelivery.isDue('young', 3_000), false);
});
