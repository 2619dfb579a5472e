import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { VerdictsSchema } from '../../../../proto/gen/dpd/v1/headend_pb.js';
import {
  Action,
  DeadReason,
  Guard,
  GuardActionSchema,
  SaSchema,
  VerdictSchema,
} from '../../../../proto/gen/dpd/v1/types_pb.js';
import {
  bytesOf,
  deadEndpoint,
  endpointsOf,
  setNextEndpoint,
  VerdictComposer,
} from '../../../../services/node/verdicts/verdict-bytes.ts';
import { readVerdict, writeVerdict } from '../../../../services/store/shard/stored-verdict.ts';

const DECIDED = {
  handle: 7,
  lastEvidenceUnix: 1_800_000_000_000.4,
  firstProbeUnix: 1_800_000_010_000,
  probesSent: 3,
  earliestUnix: 1_800_000_013_000,
  decidedUnix: 1_800_000_013_004,
  blindMs: 12,
  asked: 0,
};
const copying = (sa: Uint8Array) => (message: Buffer) => {
  message.set(sa);
  return sa.length;
};
const CIRCUMSTANCES = { id: 'aa.1.0', epoch: 1_800_000_000_123, guards: [], traceparent: '' };

const spi = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
const u32 = fc.nat({ max: 2 ** 32 - 1 });
const sas = fc
  .record({
    id: fc.record({ initiatorSpi: spi, responderSpi: spi }),
    peerId: fc.string({ minLength: 1, maxLength: 40, unit: 'binary' }),
    endpoints: fc.array(fc.record({ address: fc.ipV4(), port: fc.nat(65_535), connection: fc.string() }), {
      minLength: 1,
      maxLength: 16,
    }),
    pick: fc.nat(),
    policy: fc.record({
      intervalMs: u32,
      action: fc.constantFrom(0, 1, 2, 3, 4, 5) as fc.Arbitrary<Action>,
      observe: fc.boolean(),
    }),
    childSpis: fc.array(u32, { maxLength: 64 }),
    revision: u32,
    site: fc.string({ maxLength: 20 }),
    pin: fc.boolean(),
  })
  .map(({ pick, pin, ...sa }) =>
    create(SaSchema, {
      ...sa,
      pinnedEndpoint: pin ? 1 + ((pick >> 4) % sa.endpoints.length) : 0,
      activeEndpoint: pick % sa.endpoints.length,
      ikeVersion: 2,
    }),
  );

/** A neighbour in the page. */
const OTHER = create(SaSchema, { id: {}, peerId: 'other', endpoints: [{ address: '10.9.9.9' }] });

test('a composed verdict decodes to what the SA and the thread say', () => {
  const composer = new VerdictComposer({ headend: 'hub-1', shard: 300 });
  fc.assert(
    fc.property(sas, fc.boolean(), (sa, guarded) => {
      const guards = guarded
        ? [create(GuardActionSchema, { guard: Guard.BLIND_TIME, ms: 12n, reason: 'a thread ran late' })]
        : [];
      const traceparent = guarded ? '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' : '';
      const circumstances = { ...CIRCUMSTANCES, guards, traceparent };
      composer.compose(copying(toBinary(SaSchema, OTHER)), DECIDED, CIRCUMSTANCES);
      const first = composer.compose(copying(toBinary(SaSchema, sa)), DECIDED, circumstances);
      composer.finish();
      // Written again, with others.
      composer.compose(copying(toBinary(SaSchema, OTHER)), DECIDED, CIRCUMSTANCES);
      const composed = composer.repeat(first);
      composer.finish();
      const action = sa.policy!.action || Action.FAILOVER;
      const same = action === Action.RESTART || action === Action.TRAP;
      const after = (sa.activeEndpoint + 1) % sa.endpoints.length;
      const next = sa.pinnedEndpoint > 0 ? sa.pinnedEndpoint - 1 : after;
      const expected = create(VerdictSchema, {
        id: 'aa.1.0',
        headend: 'hub-1',
        shard: 300,
        epoch: 1_800_000_000_123n,
        sa: sa.id!,
        peerId: sa.peerId,
        childSpis: sa.childSpis,
        reason: DeadReason.PROBES_UNANSWERED,
        history: {
          lastEvidenceUnixMs: 1_800_000_000_000n,
          firstProbeUnixMs: 1_800_000_010_000n,
          probesSent: 3,
          earliestUnixMs: 1_800_000_013_000n,
          decidedUnixMs: 1_800_000_013_004n,
          guards,
        },
        action: sa.policy!.observe ? Action.NOTIFY : action,
        observed: sa.policy!.observe ? action : Action.UNSPECIFIED,
        endpoints: sa.endpoints,
        deadEndpoint: sa.activeEndpoint,
        nextEndpoint: same ? sa.activeEndpoint : next,
        pinned: sa.pinnedEndpoint > 0 && !same,
        traceparent,
      });
      for (const verdict of [first, composed]) assert.deepEqual(readVerdict(bytesOf(verdict)), expected);
      assert.deepEqual(fromBinary(VerdictsSchema, composed.page.bytes).verdicts[1], expected);
      assert.deepEqual(readVerdict(writeVerdict(expected)), expected);
      assert.deepEqual(endpointsOf(composed), expected.endpoints);
      assert.deepEqual(deadEndpoint(composed), sa.endpoints[sa.activeEndpoint]);
      const other = sa.endpoints.length - 1;
      setNextEndpoint(composed, other);
      assert.deepEqual(readVerdict(bytesOf(composed)), { ...expected, nextEndpoint: other });
    }),
  );
});

test('an SA whose message another encoder wrote: in pieces, not packed, with fields of later releases', () => {
  const whole = toBinary(
    SaSchema,
    create(SaSchema, {
      id: { initiatorSpi: 1n, responderSpi: 2n },
      peerId: 'first',
      endpoints: [{ address: '10.0.0.1' }, { address: '10.0.0.2' }],
      policy: { action: Action.CLEAR },
      childSpis: [11],
    }),
  );
  const more = new BinaryWriter()
    .tag(SaSchema.field.childSpis.number, WireType.Bit32)
    .fixed32(0xfffffffe)
    .tag(SaSchema.field.policy.number, WireType.LengthDelimited)
    .bytes(new BinaryWriter().tag(2, WireType.Varint).uint32(30_000).finish())
    .tag(SaSchema.field.peerId.number, WireType.LengthDelimited)
    .string('last')
    .tag(SaSchema.field.activeEndpoint.number, WireType.Varint)
    .uint32(1)
    .tag(1_000, WireType.LengthDelimited)
    .string('of a later release')
    .finish();
  const sa = Buffer.concat([whole, more]);
  const composer = new VerdictComposer({ headend: 'h', shard: 0 });
  const composed = composer.compose(copying(sa), DECIDED, CIRCUMSTANCES);
  composer.finish();
  const verdict = readVerdict(bytesOf(composed));
  const decoded = fromBinary(SaSchema, sa);
  assert.deepEqual(
    [verdict.childSpis, verdict.peerId, verdict.action, verdict.deadEndpoint, verdict.nextEndpoint],
    [decoded.childSpis, decoded.peerId, decoded.policy!.action, 1, 0],
  );
  assert.equal(verdict.peerId, 'last');
});
