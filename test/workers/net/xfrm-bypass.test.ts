import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bypassPolicy } from '../../../workers/net/xfrm-bypass.ts';

// Its effect is tested on a kernel with ESP: test/kernel.
test('a socket that cannot be exempted is no error', () => {
  for (const ipv6 of [false, true]) assert.equal(bypassPolicy(-1, { ipv6 }), false);
});
