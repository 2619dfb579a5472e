import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { ConnectShardRequestSchema } from '../../../../../proto/gen/dpd/v1/headend_pb.js';
import { type Sa, SaKeysSchema, SaSchema } from '../../../../../proto/gen/dpd/v1/types_pb.js';
import { checkSizes } from '../../../../../services/api/validation.ts';
import { upsertBytes } from '../../../../../services/node/api/headend/upsert-bytes.ts';
import { ByteStore, LONGEST } from '../../../../../services/node/records/byte-store.ts';
import { LONGEST_SA } from '../../../../../services/node/records/sa-store.ts';

function request(sas: Sa[]): Uint8Array {
  return toBinary(
    ConnectShardRequestSchema,
    create(ConnectShardRequestSchema, { message: { case: 'upsert', value: { batchId: 7n, sas } } }),
  );
}

const bytes = (length: number) => new Uint8Array(length).fill(length);

const SA = fc
  .record({
    peerId: fc.string({ maxLength: 40 }),
    initiatorSpi: fc.bigInt(1n, 2n ** 64n - 1n),
    addresses: fc.array(fc.ipV4(), { maxLength: 3 }),
    keyLength: fc.option(fc.integer({ min: 0, max: 64 }), { nil: undefined }),
    site: fc.string({ maxLength: 10 }),
  })
  .map(({ peerId, initiatorSpi, addresses, keyLength, site }) =>
    create(SaSchema, {
      id: { initiatorSpi, responderSpi: 1n },
      peerId,
      endpoints: addresses.map((address) => ({ address })),
      ...(keyLength !== undefined && { keys: { encryption: 20, skEi: bytes(keyLength), skEr: bytes(keyLength) } }),
      site,
    }),
  );

describe('an upsert', () => {
  test('property: is cut into what its SAs and their keys encode to', () => {
    fc.assert(
      fc.property(fc.array(SA, { maxLength: 20 }), (sas) => {
        const cut = upsertBytes(request(sas));
        assert.equal(cut.length, sas.length);
        sas.forEach((sa, n) => {
          assert.deepEqual(
            fromBinary(SaSchema, cut[n]!.sa),
            fromBinary(SaSchema, toBinary(SaSchema, { ...sa, keys: undefined })),
          );
          assert.deepEqual(
            cut[n]!.keys && fromBinary(SaKeysSchema, cut[n]!.keys!),
            sa.keys && fromBinary(SaKeysSchema, toBinary(SaKeysSchema, sa.keys)),
          );
        });
      }),
    );
  });

  test('no byte of a key is left in the SA, even of keys given in pieces, and unknown fields stay', () => {
    const sa = toBinary(SaSchema, create(SaSchema, { peerId: 'p', site: 's' }));
    const piece = (field: number, value: number) => [(8 << 3) | 2, 4, (field << 3) | 2, 2, value, value];
    // Field 99, which no release knows yet.
    const unknown = [0x9a, 0x06, 1, 42];
    const whole = Buffer.concat([Buffer.from(piece(3, 0xe1)), sa, Buffer.from(unknown), Buffer.from(piece(4, 0xe2))]);
    const upsert = Buffer.concat([Buffer.of((2 << 3) | 2, whole.length), whole]);
    const [cut] = upsertBytes(Buffer.concat([Buffer.of((2 << 3) | 2, upsert.length), upsert]));
    assert.deepEqual(Buffer.from(cut!.sa), Buffer.concat([sa, Buffer.from(unknown)]));
    const keys = fromBinary(SaKeysSchema, cut!.keys!);
    assert.deepEqual([...keys.skEi, ...keys.skEr], [0xe1, 0xe1, 0xe2, 0xe2]);
  });
});

test('an SA that does not fit the store is refused by name', () => {
  assert.deepEqual(checkSizes([10, LONGEST_SA]), []);
  assert.deepEqual(checkSizes([10, LONGEST_SA + 1]), [
    { field: 'upsert.sas[1]', description: `${LONGEST_SA + 1} bytes without keys, at most ${LONGEST_SA}` },
  ]);
});

test('property: a byte store gives back what was put, whatever else is put and dropped', () => {
  const step = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((value) => ({ put: value })),
    fc.nat().map((n) => ({ drop: n })),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const store = new ByteStore();
      const held = new Map<number, Uint8Array>();
      for (const one of steps)
        if ('put' in one) {
          const number = store.put(one.put);
          assert(number > 0 && !held.has(number));
          held.set(number, one.put);
        } else if (held.size > 0) {
          const number = [...held.keys()][one.drop % held.size]!;
          store.drop(number);
          held.delete(number);
        }
      for (const [number, value] of held) assert.deepEqual(Buffer.from(store.get(number)), Buffer.from(value));
    }),
  );
  const store = new ByteStore();
  assert.equal(store.get(store.put(bytes(LONGEST))).length, LONGEST);
  assert.throws(() => store.put(bytes(LONGEST + 1)), RangeError);
});
