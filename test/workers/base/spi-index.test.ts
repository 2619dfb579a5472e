import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SpiIndex, setSpi, spiAt, spiPairs } from '../../../workers/base/spi-index.ts';

test('behaves as a map, through growth and removals', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(300)), { maxLength: 3000 }), (steps) => {
      const pairs = spiPairs(301);
      // All in one shard: the low bits are the same.
      for (let n = 0; n < 301; n++) setSpi(pairs, n, [0, n % 7, n, n * 256]);
      const index = new SpiIndex();
      const held = new Set<number>();
      for (const [add, handle] of steps) {
        if (add && !held.has(handle)) {
          index.add(pairs, handle);
          held.add(handle);
        } else if (!add && held.has(handle)) {
          index.remove(pairs, handle);
          held.delete(handle);
        }
      }
      for (let handle = 0; handle <= 300; handle++)
        assert.equal(index.find(pairs, ...spiAt(pairs, handle)), held.has(handle) ? handle : -1);
    }),
    { numRuns: 30 },
  );
});
