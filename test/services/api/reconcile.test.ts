import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SetHash, saHash } from '../../../services/api/reconcile.ts';
import { spiFromHex, spiHex, spiWords } from '../../../services/api/spi.ts';

test('saHash is FNV-1a-64 of SPIs and revision', () => {
  fc.assert(
    fc.property(fc.tuple(u32(), u32(), u32(), u32()), u32(), (spi, revision) => {
      const bytes = Buffer.alloc(20);
      [...spi, revision].forEach((word, n) => bytes.writeUInt32BE(word, n * 4));
      let hash = 0xcbf29ce484222325n;
      for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
      assert.equal(saHash(spi, revision), hash);
    }),
  );
});

test('the set hash does not depend on order and forgets what is removed', () => {
  const a = new SetHash();
  const b = new SetHash();
  const sas = Array.from({ length: 50 }, (_, n) => [n, n * 7, n ^ 0x55, n + 1] as const);
  for (const sa of sas) a.add(sa, 1);
  for (const sa of sas.toReversed()) b.add(sa, 1);
  assert.equal(a.hash, b.hash);
  b.remove(sas[3]!, 1);
  assert.notEqual(a.hash, b.hash);
  b.add(sas[3]!, 2);
  assert.notEqual(a.hash, b.hash, 'a revision does not count');
  b.remove(sas[3]!, 2);
  b.add(sas[3]!, 1);
  assert.deepEqual([a.hash, a.count], [b.hash, b.count]);
});

test('SPI pairs survive every form', () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      (initiatorSpi, responderSpi) => {
        const pair = { initiatorSpi, responderSpi };
        assert.deepEqual(spiFromHex(spiHex(pair)), pair);
        const [i0, i1, r0, r1] = spiWords(pair);
        assert.equal((BigInt(i0) << 32n) | BigInt(i1), initiatorSpi);
        assert.equal((BigInt(r0) << 32n) | BigInt(r1), responderSpi);
      },
    ),
  );
});

function u32() {
  return fc.integer({ min: 0, max: 2 ** 32 - 1 });
}
