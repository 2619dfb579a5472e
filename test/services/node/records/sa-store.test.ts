import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, createRegistry, equals, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { Mode, PolicySchema, type Sa, SaSchema } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { spiWords } from '../../../../services/api/spi.ts';
import { LONGEST_SA, MOST_POLICIES, SaStore } from '../../../../services/node/records/sa-store.ts';
import { MessageReader } from '../../../../workers/sa/message-reader.ts';

const SPI = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const SA = fc.record({
  id: fc.record({ initiatorSpi: SPI, responderSpi: SPI }),
  peerId: fc.string({ maxLength: 100 }),
  policy: fc.option(
    fc.record({ mode: fc.constantFrom(Mode.ON_IDLE, Mode.PERIODIC), intervalMs: fc.constantFrom(0, 5_000, 30_000) }),
    { nil: undefined },
  ),
  childSpis: fc.array(fc.nat(), { maxLength: 8 }),
  revision: fc.nat(),
});
const message = (init: Parameters<typeof create<typeof SaSchema>>[1]): Sa => create(SaSchema, init);
const same = (a: Sa, b: Uint8Array) => assert(equals(SaSchema, a, fromBinary(SaSchema, b)));

test('property: an SA comes back as it was put, whatever else is put and dropped', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(SA, fc.boolean()), { maxLength: 60 }), (steps) => {
      const store = new SaStore();
      const held: { number: number; sa: Sa }[] = [];
      for (const [init, drop] of steps) {
        const sa = message(init);
        held.push({ number: store.put(new MessageReader(toBinary(SaSchema, sa))), sa });
        if (drop) store.drop(held.shift()!.number);
      }
      for (const { number, sa } of held) same(sa, store.get(number, spiWords(sa.id!)));
    }),
  );
});

test('what is unusual is kept: parts given twice, unknown fields, an id with more than SPIs', () => {
  const sa = message({ id: { initiatorSpi: 1n, responderSpi: 2n ** 63n }, peerId: 'p', policy: { intervalMs: 7_000 } });
  const bytes = toBinary(SaSchema, sa);
  // Field 99, which no release knows yet, in the message, and in the id.
  const unknown = Buffer.of(0x9a, 0x06, 1, 42);
  const id = bytes.subarray(2, 2 + bytes[1]!);
  const odd = Buffer.concat([Buffer.of(0x0a, id.length + unknown.length), id, unknown, bytes.subarray(2 + id.length)]);
  const policy = Buffer.of((7 << 3) | 2, 2, 2 << 3, 9);
  const store = new SaStore();
  for (const [name, given] of Object.entries({
    unknown: Buffer.concat([bytes, unknown]),
    odd,
    twice: Buffer.concat([bytes, policy, bytes]),
    nothing: Buffer.alloc(0),
  })) {
    const back = store.get(store.put(new MessageReader(given)), spiWords(sa.id!));
    const [wanted, found] = [fromBinary(SaSchema, given), fromBinary(SaSchema, back)];
    assert(equals(SaSchema, wanted, found, { registry: createRegistry(SaSchema), unknown: true }), name);
    assert.equal(back.length, given.length, name);
  }
});

test('a search finds what a message says of its peer, and nothing that is kept elsewhere', () => {
  const store = new SaStore();
  const sa = message({ id: { initiatorSpi: 0x6162636465666768n, responderSpi: 2n }, peerId: 'peer-17', policy: {} });
  const number = store.put(new MessageReader(toBinary(SaSchema, sa)));
  assert(store.contains(number, Buffer.from('peer-17')));
  assert(!store.contains(number, Buffer.from('peer-18')));
  assert(!store.contains(number, Buffer.from('hgfedcba')));
});

test('the longest SA fits, the next one is refused', () => {
  const store = new SaStore();
  const ofLength = (length: number) => {
    const bytes = Buffer.alloc(length);
    // One long peer_id.
    bytes.set([(2 << 3) | 2, ((length - 3) & 127) | 128, (length - 3) >> 7]);
    return bytes;
  };
  const longest = ofLength(LONGEST_SA);
  assert.deepEqual(store.get(store.put(new MessageReader(longest)), [0, 0, 0, 0]), longest);
  assert.throws(() => store.put(new MessageReader(ofLength(LONGEST_SA + 1))), RangeError);
});

test('policies are taken until there are no numbers for more; those that have one are taken on', () => {
  const policy = (intervalMs: number) => create(PolicySchema, { mode: Mode.ON_IDLE, intervalMs });
  const wanted = (...intervals: number[]) => intervals.map(policy);
  const store = new SaStore();
  for (let n = 1; n < MOST_POLICIES; n++)
    store.put(new MessageReader(toBinary(SaSchema, message({ policy: policy(n) }))));
  assert(store.takesPolicies(wanted(1, 2, 3, 3)));
  assert(store.takesPolicies(wanted(1, 50_000, 50_000)));
  assert(!store.takesPolicies(wanted(50_000, 50_001)));
});
