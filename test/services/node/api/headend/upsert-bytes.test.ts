import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { ConnectShardRequestSchema } from '../../../../../proto/gen/dpd/v1/headend_pb.js';
import { Mode, type Sa, SaKeysSchema, SaSchema } from '../../../../../proto/gen/dpd/v1/types_pb.js';
import { checkSizes } from '../../../../../services/api/validation.ts';
import { upsertBytes } from '../../../../../services/node/api/headend/upsert-bytes.ts';
import { ByteStore, LONGEST } from '../../../../../services/node/records/byte-store.ts';
import { LONGEST_SA } from '../../../../../services/node/records/sa-store.ts';
import { MessageReader } from '../../../../../workers/sa/message-reader.ts';
import { readSa } from '../../../../../workers/sa/sa-message.ts';
import { fuzz } from '../../../../fuzz/targets/upserts.ts';
import { Random } from '../../../../simulation/random.ts';

/** An SA as the API takes it. */
const GOOD = create(SaSchema, {
  id: { initiatorSpi: 1n, responderSpi: 2n },
  peerId: 'p',
  ikeVersion: 2,
  endpoints: [
    { address: '192.0.2.1', port: 4_500, connection: 'c' },
    { address: '2001:db8::1', port: 500 },
  ],
  activeEndpoint: 1,
  policy: { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 1_000, retries: 3, jitterPercent: 10 },
  nextMessageId: 7,
  childSpis: [1, 2, 3],
  revision: 9,
  localAddress: '192.0.2.9',
  localPort: 500,
  site: 's',
});

/** An upsert of one encoded SA. */
function wrap(sa: Uint8Array): Buffer {
  const part = (field: number, value: Uint8Array) => {
    const length = value.length < 128 ? [value.length] : [(value.length & 127) | 128, value.length >>> 7];
    return Buffer.concat([Buffer.of((field << 3) | 2, ...length), value]);
  };
  return part(2, part(2, sa));
}

/** What is stored of an upsert. */
function bytesOf(upsert: Uint8Array) {
  const { message } = fromBinary(ConnectShardRequestSchema, upsert);
  assert(message.case === 'upsert');
  return upsertBytes(upsert, message.value.sas);
}

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
        const cut = upsertBytes(request(sas), sas);
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

  test('fields that no release knows stay where it is plain, and no byte of a key is left in the SA', () => {
    const sa = toBinary(SaSchema, create(SaSchema, { peerId: 'p', site: 's' }));
    // Keys, and field 99, which no release knows yet.
    const keys = [(8 << 3) | 2, 4, (3 << 3) | 2, 2, 0xe1, 0xe1];
    const unknown = [0x9a, 0x06, 1, 42];
    const [cut] = bytesOf(wrap(Buffer.concat([Buffer.from(keys), sa, Buffer.from(unknown)])));
    assert.deepEqual(Buffer.from(cut!.sa), Buffer.concat([sa, Buffer.from(unknown)]));
    assert.deepEqual(Buffer.from(cut!.keys!), Buffer.from(keys.slice(2)));
  });

  test('keys given in pieces are written as one', () => {
    const piece = (field: number, value: number) => Buffer.of((8 << 3) | 2, 4, (field << 3) | 2, 2, value, value);
    const [cut] = bytesOf(wrap(Buffer.concat([piece(3, 0xe1), Buffer.of(0x12, 1, 0x70), piece(4, 0xe2)])));
    assert.deepEqual(Buffer.from(cut!.sa), Buffer.of(0x12, 1, 0x70));
    const keys = fromBinary(SaKeysSchema, cut!.keys!);
    assert.deepEqual([...keys.skEi, ...keys.skEr], [0xe1, 0xe1, 0xe2, 0xe2]);
  });

  test('a packed length that is no multiple of four swallows what follows for the thread as for the decoder', () => {
    // Of eight bytes that the decoder reads as two SPIs the last three are what stands for `parked`.
    const sa = Buffer.concat([toBinary(SaSchema, GOOD), Buffer.of((10 << 3) | 2, 5, 1, 2, 3, 4, 5, 0x60, 1, 0x60)]);
    const [cut] = bytesOf(wrap(sa));
    assert.equal(fromBinary(SaSchema, sa).parked, false);
    assert.equal(readSa(new MessageReader(cut!.sa)).parked, false);
  });
});

test('property: however an upsert is encoded, thread and records read of it what the door has checked', () => {
  let taken = 0;
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      if (fuzz(new Random(seed))) taken++;
    }),
    { numRuns: 3_000 },
  );
  assert(taken > 300, `the door took ${taken} of 3,000`);
});

test('an SA that does not fit the store is refused by name', () => {
  const stored = (sa: number, keys?: number) => ({ sa: bytes(sa), keys: keys === undefined ? undefined : bytes(keys) });
  assert.deepEqual(checkSizes([stored(10), stored(LONGEST_SA, 1_024)]), []);
  assert.deepEqual(checkSizes([stored(10, 1_025), stored(LONGEST_SA + 1)]), [
    { field: 'upsert.sas[0].keys', description: '1025 bytes, at most 1024' },
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
