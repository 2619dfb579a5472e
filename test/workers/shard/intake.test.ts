import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { SEALED, type SessionKeys, SessionTable } from '../../../workers/ikev2/sessions.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { KeyKeeper, type KeyVault } from '../../../workers/keys/key-keeper.ts';
import { Vault } from '../../../workers/keys/vault.ts';
import { SPREAD } from '../../../workers/liveness/machine.ts';
import { Mode, planOf } from '../../../workers/liveness/policy.ts';
import { type PageRow, packPage } from '../../../workers/sa/sa-page.ts';
import { Intake, type ShardSa } from '../../../workers/shard/intake.ts';
import { ROW_LENGTH } from '../../../workers/takeover/checkpoint.ts';
import { possibleIdsAfter } from '../../../workers/takeover/id-uncertainty.ts';

const POLICY = {
  mode: Mode.ON_IDLE,
  intervalMs: 30_000,
  retryIntervalMs: 1_000,
  retries: 3,
  jitterPercent: 0,
  unprovenMs: 0,
};
const AT = 1_800_000_000_000;
const FORMER = { headend: 'hub', chunks: [], translated: new Map(), atUnix: AT, ageMs: 1_000 };

const intakeWith = (vault: KeyVault | undefined) => new Intake(new KeyKeeper(new SessionTable(), vault));

/** What an intake makes of a page. */
function resumedBy(intake: Intake, rows: readonly PageRow[]) {
  const taken: ShardSa[] = [];
  const leftOut = intake.resume(packPage(rows), (sa) => taken.push(sa));
  return { taken, leftOut };
}

/** A registered SA, with its keys or without. */
function registered(nextMessageId: number, keyed: boolean) {
  const { encryption, integrity, keyLength, saltLength, integrityKeyLength } = SUITES[0]!;
  const [ske, ska] = [keyLength + saltLength, integrityKeyLength].map((length) => new Uint8Array(length).fill(7));
  const keys = create(SaKeysSchema, { encryption, integrity, skEi: ske!, skEr: ske!, skAi: ska!, skAr: ska! });
  const sa = create(SaSchema, {
    id: { initiatorSpi: 1n, responderSpi: 2n },
    endpoints: [{ address: '192.0.2.1' }],
    policy: { ...POLICY },
    nextMessageId,
  });
  const open = keyed ? toBinary(SaKeysSchema, keys) : undefined;
  return { handle: 0, site: 0, dead: false, sa: toBinary(SaSchema, sa), keys: open };
}

describe('what a former owner left of an SA', () => {
  /** The SA taken up, with this row in the checkpoint; without: no row. */
  const taken = (
    row?: { nextMid: number; flags: number; uncertainty: number; heardUnix: number },
    ageMs = 1_000,
    keyed = true,
  ) => {
    const bytes = Buffer.alloc(row ? ROW_LENGTH : 0);
    if (row) {
      bytes.writeUInt32BE(1, 4);
      bytes.writeUInt32BE(2, 12);
      bytes.writeUInt32BE(row.nextMid, 16);
      bytes.writeDoubleBE(row.heardUnix, 20);
      bytes.writeUInt8(row.flags, 28);
      bytes.writeUInt16BE(row.uncertainty, 29);
    }
    const intake = intakeWith({ open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) });
    intake.takeOver({ ...FORMER, ageMs, chunks: [{ epoch: 1, bytes }] });
    const { nextMid, possibleIds, proven, heardAgeMs, firstAskMs } = resumedBy(intake, [registered(3, keyed)])
      .taken[0]!;
    return { nextMid, possibleIds, proven, heardAgeMs, firstAskMs };
  };
  const known = { nextMid: 9, flags: 0, uncertainty: 0, heardUnix: AT - 5_000 };

  test('its id, evidence and proof; it is asked when it would have been', () => {
    const heard = { heardAgeMs: 6_000, firstAskMs: 24_000 };
    assert.deepEqual(taken(known), { nextMid: 9, possibleIds: 1, proven: false, ...heard });
    assert.deepEqual(taken({ ...known, flags: 4 }), { nextMid: 9, possibleIds: 1, proven: true, ...heard });
  });

  test('a request under way may have been answered; what he did not know himself comes on top', () => {
    assert.equal(taken({ ...known, flags: 1 }).possibleIds, 2);
    assert.equal(taken({ ...known, uncertainty: 600 }).possibleIds, 601);
    assert.equal(taken({ ...known, flags: 1, uncertainty: 6 }).possibleIds, 8);
  });

  test('evidence is as old as it is, until a canary comes home; without keys it counts as come now', () => {
    assert.equal(taken(known, 4_000).heardAgeMs, 9_000);
    assert.equal(taken(known, 4_000, false).heardAgeMs, 0);
  });

  test('evidence after the moment that the checkpoint tells of counts, too', () => {
    assert.equal(taken({ ...known, heardUnix: AT + 400 }, 1_000).heardAgeMs, 600);
  });

  test('nothing, of an SA registered after his last checkpoint: its registration counts, and perhaps a request', () => {
    const expected = { nextMid: 3, possibleIds: 2, proven: false, heardAgeMs: 0, firstAskMs: SPREAD };
    assert.deepEqual(taken(), expected);
  });
});

describe('message ids after a gap in which another may have asked', () => {
  const ASKED = { outstanding: false, fresh: false };
  const possibleIds = (possible: number, asked = {}, heardAgeMs = 5_000, gapMs = 3_500, policy = {}) =>
    possibleIdsAfter(possible, { ...ASKED, ...asked }, planOf({ ...POLICY, ...policy }), heardAgeMs, gapMs);

  test('as before, if the peer was not due', () => {
    assert.equal(possibleIds(1), 1);
    assert.equal(possibleIds(7), 7);
  });

  test('one more, if a request was under way: it may have been answered', () => {
    assert.equal(possibleIds(1, { outstanding: true }), 2);
  });

  test('more, if the peer was due since: at its next time, early by jitter, out of order of evidence', () => {
    assert.equal(possibleIds(1, {}, 30_000), 2);
    assert.equal(possibleIds(1, {}, 20_000, 3_500, { jitterPercent: 40 }), 2);
    assert.equal(possibleIds(1, {}, 5_000, 3_500, { mode: Mode.PERIODIC }), 2);
    assert.equal(possibleIds(1, { fresh: true }), 2);
  });

  test('more, if evidence came in the gap: the peer may have been silent before it', () => {
    assert.equal(possibleIds(1, {}, 3_400), 2);
    assert.equal(possibleIds(1, {}, 1_000, 31_000), 3);
  });

  test('more, if a dead peer may have been asked as fast as its answers are counted', () => {
    const counted = { asksDead: true, upCount: 20, retryIntervalMs: 0, retries: 0, retryScheduleMs: [500, 1_000] };
    assert.equal(possibleIds(1, {}, 5_000, 5_000, counted), 12);
    assert.equal(possibleIds(1, {}, 5_000, 5_000, { ...counted, upCount: 1 }), 1);
  });

  test('as many as exchanges fit', () => {
    assert.equal(possibleIds(1, { outstanding: true }, 95_000, 90_000), 6);
    assert.equal(possibleIds(6, { outstanding: true }, 95_000, 90_000, { jitterPercent: 50 }), 14);
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
  const vault = new Vault([Buffer.alloc(32, 1)]);
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
  intake.takeOver(FORMER);
  const { taken, leftOut } = resumedBy(intake, rows);
  assert.deepEqual(leftOut, { unreadable: [2, 3], opened: 1, sealed: 1 });
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
    intake.takeOver({ ...FORMER, chunks });
    return resumedBy(intake, [{ handle: 0, site: 0, dead: false, sa, keys: undefined }]).taken[0]!.nextMid;
  };
  assert.equal(nextMid(chunk(2, 5), chunk(1, 9)), 5);
  assert.equal(nextMid(chunk(1, 9), chunk(2, 5)), 5);
  assert.equal(nextMid(chunk(1, 9), chunk(1, 5)), 9);
  assert.equal(nextMid(chunk(1, 5), chunk(1, 9)), 9);
  assert.equal(nextMid(chunk(1, 9), chunk(2, 7), chunk(2, 5)), 7);
});

test('an SA beyond what a shard can work with is left out and named, of a headend as of a former owner', () => {
  const rows = [0, 2 ** 30, 0xffffffff].map((id, handle) => ({ ...registered(id, true), handle }));
  const intake = intakeWith({ open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) });
  const taken: number[] = [];
  const enter = ({ handle }: ShardSa) => taken.push(handle);
  assert.deepEqual(intake.register(packPage(rows), enter), { unreadable: [1, 2] });
  intake.takeOver(FORMER);
  assert.deepEqual(intake.resume(packPage(rows), enter).unreadable, [1, 2]);
  assert.deepEqual(taken, [0, 0]);
});

test('a row of a checkpoint that cannot be one tells nothing of its SA', () => {
  const row = (change: (bytes: Buffer) => unknown) => {
    const bytes = Buffer.alloc(ROW_LENGTH);
    bytes.writeUInt32BE(1, 4);
    bytes.writeUInt32BE(2, 12);
    bytes.writeUInt32BE(9, 16);
    change(bytes);
    const intake = intakeWith(undefined);
    intake.takeOver({ ...FORMER, chunks: [{ epoch: 1, bytes }] });
    return resumedBy(intake, [registered(3, false)]).taken[0]!.nextMid;
  };
  assert.equal(
    row(() => {}),
    9,
  );
  for (const heard of [Number.NaN, Number.POSITIVE_INFINITY, -1e300])
    assert.equal(
      row((bytes) => bytes.writeDoubleBE(heard, 20)),
      3,
    );
  assert.equal(
    row((bytes) => bytes.writeUInt32BE(0xffffffff, 16)),
    3,
  );
});

test('keys that a headend registers are wiped from the page when the shard has them, or cannot take them', () => {
  const rows = [0, 0xffffffff].map((id, handle) => ({ ...registered(id, true), handle }));
  const intake = intakeWith({ open: (record) => Buffer.from(record), seal: (plain) => Buffer.from(plain) });
  const page = packPage(rows);
  assert.equal(rows.filter(({ keys }) => keys && Buffer.from(page.bytes).includes(keys)).length, 2, 'there are none');
  const entered: Uint8Array[] = [];
  intake.register(page, ({ keys }) => {
    const { material } = keys as SessionKeys;
    assert(material.some((byte) => byte !== 0));
    entered.push(material);
  });
  assert(entered.length === 1 && entered[0]!.every((byte) => byte === 0));
  for (const { keys } of rows) assert(!Buffer.from(page.bytes).includes(keys!));
});
