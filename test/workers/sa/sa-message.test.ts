import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { Action, DpdSupport, Mode, type Sa, SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { spiWords } from '../../../services/api/spi.ts';
import { Address } from '../../../workers/base/address.ts';
import { IKEV1_SUITES, ikev1Material } from '../../../workers/ikev1/suites.ts';
import { keyMaterial } from '../../../workers/ikev2/sessions.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { encodeKeys } from '../../../workers/keys/keys-page.ts';
import { MessageReader } from '../../../workers/sa/message-reader.ts';
import { readKeys, readSa, readSaHead } from '../../../workers/sa/sa-message.ts';

const uint32 = fc.nat(0xffffffff);
const spi = fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn });
const address = fc.oneof(fc.ipV4(), fc.ipV6());
const policy = fc.record({
  mode: fc.nat(4),
  intervalMs: uint32,
  retryIntervalMs: uint32,
  retries: uint32,
  jitterPercent: fc.nat(50),
  action: fc.nat(5),
  observe: fc.boolean(),
  proveEveryMs: uint32,
  upCount: uint32,
  unprovenMs: uint32,
  retryFactorPercent: uint32,
  retryLimitMs: uint32,
  retryScheduleMs: fc.array(uint32, { maxLength: 5 }),
});
const sa = fc
  .record({
    id: fc.record({ initiatorSpi: spi, responderSpi: spi }),
    peerId: fc.string(),
    ikeVersion: fc.nat(3),
    dpdSupport: fc.nat(2),
    headendIsInitiator: fc.boolean(),
    endpoints: fc.array(fc.record({ address, port: fc.nat(65_535), connection: fc.string() }), {
      minLength: 1,
      maxLength: 4,
    }),
    policy,
    nextMessageId: uint32,
    childSpis: fc.array(uint32, { maxLength: 3 }),
    revision: uint32,
    parked: fc.boolean(),
    localAddress: fc.string(),
    localPort: fc.constantFrom(0, 500, 4_500),
    site: fc.string(),
    muteUntilUnixMs: fc.constantFrom(0n, 1_800_000_000_000n),
    pinnedEndpoint: fc.nat(16),
  })
  .chain((fields) => fc.record({ fields: fc.constant(fields), active: fc.nat(fields.endpoints.length - 1) }))
  .map(({ fields, active }) => create(SaSchema, { ...fields, activeEndpoint: active } as never));

/** What the whole message says. */
function expected(whole: Sa) {
  const { $typeName, $unknown, action, preset, source, observe, ...policy } = whole.policy!;
  const endpoint = whole.endpoints[whole.activeEndpoint]!;
  const ikev1 = whole.ikeVersion === 1;
  const { ANNOUNCED, ABSENT } = DpdSupport;
  return {
    spi: [...spiWords(whole.id!)],
    ikev1,
    headendIsInitiator: whole.headendIsInitiator,
    address: Address.of(endpoint.address),
    port: endpoint.port || 4_500,
    policy: {
      ...policy,
      asksDead: observe || action === Action.NOTIFY,
      mode: ikev1 && whole.dpdSupport === ABSENT ? Mode.DISABLED : policy.mode,
      unprovenMs: ikev1 && whole.dpdSupport !== ANNOUNCED ? 0 : policy.unprovenMs,
    },
    nextMessageId: whole.nextMessageId,
    parked: whole.parked,
    local: whole.localAddress,
    ikePort: whole.localPort || 4_500,
    muteUntilUnixMs: Number(whole.muteUntilUnixMs),
  };
}

const head = ({ id, revision, site }: Sa) => ({ spi: id ? [...spiWords(id)] : [0, 0, 0, 0], revision, site });

test('property: what is read is what the whole message says', () => {
  fc.assert(
    fc.property(sa, (message) => {
      const bytes = toBinary(SaSchema, message);
      assert.deepEqual(readSa(new MessageReader(bytes)), expected(message));
      assert.deepEqual(readSaHead(new MessageReader(bytes)), head(message));
    }),
  );
});

test('property: a message in two parts, in any order, reads as the whole does', () => {
  fc.assert(
    fc.property(sa, sa, (first, second) => {
      const bytes = Buffer.concat([toBinary(SaSchema, first), toBinary(SaSchema, second)]);
      const whole = fromBinary(SaSchema, bytes);
      assert.deepEqual(readSa(new MessageReader(bytes)), expected(whole));
      assert.deepEqual(readSaHead(new MessageReader(bytes)), head(whole));
    }),
  );
});

test('keys of every suite, for either role', () => {
  for (const suite of SUITES)
    for (const headendIsInitiator of [true, false]) {
      const key = (length: number, fill: number) => new Uint8Array(length).fill(fill);
      const ske = suite.keyLength + suite.saltLength;
      const keys = {
        skEi: key(ske, 1),
        skEr: key(ske, 2),
        skAi: key(suite.integrityKeyLength, 3),
        skAr: key(suite.integrityKeyLength, 4),
      };
      const { encryption, integrity } = suite;
      const message = toBinary(SaKeysSchema, create(SaKeysSchema, { encryption, integrity, ...keys }));
      assert.deepEqual(readKeys(message, headendIsInitiator), {
        suite: suite.index,
        material: keyMaterial(suite, headendIsInitiator, keys),
      });
    }
});

test('keys of every suite of IKEv1, and as they are stored again', () => {
  for (const suite of IKEV1_SUITES) {
    const key = (length: number, fill: number) => new Uint8Array(length).fill(fill);
    const keys = {
      encryptionKey: key(suite.keyLength, 1),
      skeyidA: key(suite.hashLength, 2),
      phase1Block: key(suite.blockLength, 3),
    };
    const { encryption, prf } = suite;
    const message = toBinary(SaKeysSchema, create(SaKeysSchema, { encryption, prf, ...keys }));
    const read = readKeys(message, true);
    assert.deepEqual(read, { suite: suite.index, material: ikev1Material(suite, keys) });
    assert.deepEqual(Buffer.from(encodeKeys(read, true)), Buffer.from(message));
    const short = create(SaKeysSchema, { encryption, prf, ...keys, skeyidA: key(suite.hashLength - 1, 2) });
    assert.throws(() => readKeys(toBinary(SaKeysSchema, short), true), /skeyidA is \d+ bytes, must be/);
  }
});

test('what is no SA is refused', () => {
  assert.throws(() => readSa(new MessageReader(new Uint8Array(0))), RangeError);
  assert.throws(() => readSa(new MessageReader(Uint8Array.of(0x0a, 200))), RangeError);
  assert.throws(() => readSaHead(new MessageReader(Uint8Array.of(0xff))), RangeError);
  assert.throws(() => readKeys(new Uint8Array(0), true), RangeError);
});

test('property: where one message ends within others, nothing of another is read', () => {
  fc.assert(
    fc.property(sa, sa, fc.nat(), (first, second, cut) => {
      const bytes = toBinary(SaSchema, first);
      const reader = new MessageReader(Buffer.concat([bytes, toBinary(SaSchema, second)]));
      assert.deepEqual(readSa(reader, bytes.length), expected(first));
      reader.pos = 0;
      assert.deepEqual(readSaHead(reader, bytes.length), head(first));
      // As if it ended earlier: it is refused, or what is left of it is a message as well.
      const end = cut % bytes.length;
      let part: Sa | undefined;
      try {
        part = fromBinary(SaSchema, bytes.subarray(0, end));
      } catch {}
      reader.pos = 0;
      if (part) assert.deepEqual(readSaHead(reader, end), head(part));
      else assert.throws(() => readSaHead(reader, end), RangeError);
    }),
  );
});
