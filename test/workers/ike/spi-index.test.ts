import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SpiIndex } from '../../../workers/ike/spi-index.ts';

test('behaves as a map, through growth and removals', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(300)), { maxLength: 3000 }), (steps) => {
      const columns = {
        spiI0: new Uint32Array(301),
        spiI1: Uint32Array.from({ length: 301 }, (_, n) => n % 7),
        spiR0: Uint32Array.from({ length: 301 }, (_, n) => n),
        // All in one shard: the low bits are the same.
        spiR1: Uint32Array.from({ length: 301 }, (_, n) => (n * 256) >>> 0),
      };
      const index = new SpiIndex();
      const held = new Set<number>();
      for (const [add, handle] of steps) {
        if (add && !held.has(handle)) {
          index.add(columns, handle);
          held.add(handle);
        } else if (!add && held.has(handle)) {
          index.remove(columns, handle);
          held.delete(handle);
        }
      }
      for (let handle = 0; handle <= 300; handle++)
        assert.equal(
          index.find(columns, 0, columns.spiI1[handle]!, columns.spiR0[handle]!, columns.spiR1[handle]!),
          held.has(handle) ? handle : -1,
        );
    }),
    { numRuns: 30 },
  );
});
