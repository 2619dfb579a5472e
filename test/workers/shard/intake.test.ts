import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { SEALED, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { KeyKeeper, type KeyVault } from '../../../workers/keys/key-keeper.ts';
import { Vault } from '../../../workers/keys/vault.ts';
import { Mode } from '../../../workers/liveness/policy.ts';
import { type PageRow, packPage } from '../../../workers/sa/sa-page.ts';
import { candidateIds, Intake, type ShardSa } from '../../../workers/shard/intake.ts';
import { ROW_LENGTH } from '../../../workers/takeover/checkpoint.ts';

const POLICY = { mode: Mode.ON_IDLE, intervalMs: 30_000, retryIntervalMs: 1_000, retries: 3, jitterPercent: 0 };
const AT = 1_800_000_000_000;
const ROW = { nextMid: 9, heardUnix: AT - 5_000, outstanding: false, fresh: false, doubt: 0 };
const LEASE_MS = 2_500;
const CRASH = { headend: 'hub', chunks: [], atUnix: AT, ageMs: 1_000, final: false, leaseMs: LEASE_MS };

const intakeWith = (vault: KeyVault | undefined) => new Intake(new KeyKeeper(new SessionTable(), vault));

/** Message ids that may be the next one after a takeover. */
const candidates = (row = {}, checkpoint = {}, policy = {}) =>
  candidateIds({ ...ROW, ...row }, { ...CRASH, ...checkpoint }, { ...POLICY, ...policy });

/** What an intake makes of a page. */
function resumedBy(intake: Intake, rows: readonly PageRow[]) {
  const taken: ShardSa[] = [];
  const leftOut = intake.resume(packPage(rows), (sa) => taken.push(sa));
  return { taken, leftOut };
}

describe('message ids after a takeover', () => {
  test('known, if the former owner had stopped, or the peer was not due', () => {
    assert.equal(candidates({}, { final: true }), 1);
    assert.equal(candidates(), 1);
  });

  test('two, if a request was under way: it may have been answered', () => {
    assert.equal(candidates({ outstanding: true }, { final: true }), 2);
    assert.equal(candidates({ outstanding: true }), 2);
  });

  test('more, if the peer was due since: at its next time, early by jitter, out of order of evidence', () => {
    assert.equal(candidates({ heardUnix: AT - 28_000 }), 2);
    assert.equal(candidates({ heardUnix: AT - 20_000 }, {}, { jitterPercent: 40 }), 2);
    assert.equal(candidates({}, {}, { mode: Mode.PERIODIC }), 2);
    assert.equal(candidates({ fresh: true }), 2);
  });

  test('as many as exchanges fit into the time since the checkpoint and the lease after it', () => {
    assert.equal(candidates({ outstanding: true }, { ageMs: 90_000 - LEASE_MS }), 5);
    assert.equal(candidates({ outstanding: true }, { ageMs: 90_000 - LEASE_MS }, { jitterPercent: 50 }), 8);
  });

  test('what the former owner did not know himself comes on top', () => {
    assert.equal(candidates({ doubt: 6 }), 7);
    assert.equal(candidates({ doubt: 6, outstanding: true }, { final: true }), 8);
  });

  test('of an SA that the checkpoint does not tell of: as many as since it was taken', () => {
    const { encryption, integrity, keyLength, saltLength, integrityKeyLength } = SUITES[0]!;
    const [ske, ska] = [new Uint8Array(keyLength + saltLength), new Uint8Array(integrityKeyLength)];
    const keys = create(SaKeysSchema, { encryption, integrity, skEi: ske, skEr: ske, skAi: ska, skAr: ska });
    const sa = create(SaSchema, {
      id: { initiatorSpi: 1n, responderSpi: 2n },
      endpoints: [{ address: '192.0.2.1' }],
      policy: { ...POLICY },
      nextMessageId: 3,
    });
    const row = { handle: 0, site: 0, dead: false, sa: toBinary(SaSchema, sa), keys: toBinary(SaKeysSchema, keys) };
    const resumed = (ageMs: number) => {
      const intake = intakeWith({ open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) });
      intake.takeOver({ ...CRASH, ageMs });
      return resumedBy(intake, [row]);
    };
    assert.equal(resumed(1_000).taken[0]!.candidates, 2);
    const later = resumed(90_000).taken[0]!;
    assert.deepEqual([later.candidates, later.nextMid, later.heardAgeMs], [5, 3, 0]);
    // More than can be asked: not watched, and named.
    assert.deepEqual(resumed(30_000 * 70), {
      taken: [],
      leftOut: { unreadable: [], lost: [0], opened: 0, sealed: 0 },
    });
  });
});

test('what cannot be read, or opened, is left out and named; the rest is taken, most keys still sealed', () => {
  const { encryption, integrity, keyLength, saltLength, integrityKeyLength } = SUITES[0]!;
  const [ske, ska] = [Buffer.alloc(keyLength + saltLength, 5), Buffer.alloc(integrityKeyLength, 6)];
  const keys = create(SaKeysSchema, { encryption, integrity, skEi: ske, skEr: ske, skAi: ska, skAr: ska });
  const message = (n: number) =>
    toBinary(
      SaSchema,
      create(SaSchema, {
        id: { initiatorSpi: 1n, responderSpi: BigInt(n) },
        endpoints: [{ address: '192.0.2.1' }],
        policy: { ...POLICY },
      }),
    );
  const vault = new Vault(Buffer.alloc(32, 1));
  const spi = (n: number) => `${'1'.padStart(16, '0')}${String(n).padStart(16, '0')}`;
  const sealed = (n: number, headend = 'hub') => vault.seal(toBinary(SaKeysSchema, keys), `${headend}/${spi(n)}`);
  const row = (n: number, sa: Uint8Array, its: Uint8Array | undefined) => ({
    handle: n,
    site: n,
    dead: n === 4,
    sa,
    keys: its,
  });
  const rows = [
    row(2, message(2).subarray(0, 9), sealed(2)),
    row(3, message(3), sealed(3, 'another')),
    row(1, message(1), sealed(1)),
    row(4, message(4), undefined),
    // From here on the vault's key is known to be the one: these are opened later.
    row(5, message(5), sealed(5)),
    row(6, message(6), sealed(6, 'another')),
    row(7, message(7), sealed(7)),
  ];
  const intake = intakeWith(vault);
  intake.takeOver(CRASH);
  const { taken, leftOut } = resumedBy(intake, rows);
  assert.deepEqual(leftOut, { unreadable: [2, 3], lost: [], opened: 1, sealed: 1 });
  assert.deepEqual(
    taken.map((sa) => [sa.handle, sa.site, sa.dead, sa.spi, sa.keys !== undefined]),
    [
      [1, 1, false, [0, 1, 0, 1], true],
      [4, 4, true, [0, 1, 0, 4], false],
      [5, 5, false, [0, 1, 0, 5], true],
      [6, 6, false, [0, 1, 0, 6], true],
      [7, 7, false, [0, 1, 0, 7], true],
    ],
  );
  assert.deepEqual(
    taken.map((sa) => sa.keys === SEALED),
    [false, false, true, true, true],
  );
});

test('of several rows of an SA a later owner’s counts, and of one owner’s the higher id', () => {
  const sa = toBinary(
    SaSchema,
    create(SaSchema, {
      id: { initiatorSpi: 1n, responderSpi: 2n },
      endpoints: [{ address: '192.0.2.1' }],
      policy: { ...POLICY },
    }),
  );
  const chunk = (epoch: number, nextMid: number) => {
    const bytes = Buffer.alloc(ROW_LENGTH);
    bytes.writeUInt32BE(1, 4);
    bytes.writeUInt32BE(2, 12);
    bytes.writeUInt32BE(nextMid, 16);
    return { epoch, bytes };
  };
  const nextMid = (...chunks: ReturnType<typeof chunk>[]) => {
    const intake = intakeWith(undefined);
    intake.takeOver({ ...CRASH, chunks });
    return resumedBy(intake, [{ handle: 0, site: 0, dead: false, sa, keys: undefined }]).taken[0]!.nextMid;
  };
  assert.equal(nextMid(chunk(2, 5), chunk(1, 9)), 5);
  assert.equal(nextMid(chunk(1, 9), chunk(2, 5)), 5);
  assert.equal(nextMid(chunk(1, 9), chunk(1, 5)), 9);
  assert.equal(nextMid(chunk(1, 5), chunk(1, 9)), 9);
  assert.equal(nextMid(chunk(1, 9), chunk(2, 7), chunk(2, 5)), 7);
});
