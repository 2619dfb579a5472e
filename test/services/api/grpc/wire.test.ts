import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { WireWriter } from '../../../../services/api/grpc/wire.ts';

const field = fc.integer({ min: 1, max: 2 ** 29 - 1 });

test('what is written is read back by the library', () => {
  const writer = new WireWriter();
  const inner = new WireWriter();
  fc.assert(
    fc.property(
      field,
      fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      fc.uint8Array({ maxLength: 20_000, size: 'max' }),
      fc.string({ unit: 'binary', maxLength: 300 }),
      (number, value, bytes, text) => {
        writer.uint(number, value);
        inner.bytes(number, bytes);
        inner.text(number, text);
        inner.finishInto(number, writer);
        const reader = new BinaryReader(writer.finish());
        assert.deepEqual(reader.tag(), [number, 0]);
        assert.equal(BigInt(reader.uint64()), BigInt(value));
        assert.deepEqual(reader.tag(), [number, 2]);
        const nested = new BinaryReader(reader.bytes());
        assert.deepEqual(nested.tag(), [number, 2]);
        assert.deepEqual(new Uint8Array(nested.bytes()), bytes);
        assert.deepEqual(nested.tag(), [number, 2]);
        assert.equal(nested.string(), text);
        assert(reader.pos === reader.len && nested.pos === nested.len);
      },
    ),
  );
});
