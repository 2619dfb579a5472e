import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnreadShare } from '../../../workers/net/unread-share.ts';

test('the share counts from the moment asked for, over all looks since, and looks long ago are forgotten', () => {
  const share = new UnreadShare();
  assert.equal(share.since(0), 0);
  share.note(100, 90, 10);
  assert.equal(share.since(0), 0.1);
  share.note(300, 100, 0);
  assert.equal(share.since(0), 0.05);
  assert.equal(share.since(100), 0.05);
  assert.equal(share.since(101), 0);
  share.note(500, 0, 50);
  assert.equal(share.since(300), 50 / 150);
  for (let at = 700; at < 700 + 600 * 200; at += 200) share.note(at, 1, 0);
  assert.equal(share.since(0), 0);
});

test('nothing read and something dropped is all', () => {
  const share = new UnreadShare();
  share.note(100, 0, 1);
  assert.equal(share.since(50), 1);
});
