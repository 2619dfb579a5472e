import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { SaKeysSchema, SaSchema } from '../../../proto/gen/dpd/v1/types_pb.js';
import { candidateIds, resume } from '../../../services/concentrator/shard-sa.ts';
import { LEASE_MS } from '../../../services/store/shard-store.ts';
import { SUITES } from '../../../workers/ike/algorithms.ts';
import { Mode } from '../../../workers/liveness/policy.ts';

const POLICY = { mode: Mode.ON_IDLE, intervalMs: 30_000, retryIntervalMs: 1_000, retries: 3, jitterPercent: 0 };
const AT = 1_800_000_000_000;
const ROW = { sa: '', nextMid: 9, heardUnix: AT - 5_000, outstanding: false, fresh: false, doubt: 0 };
const CRASH = { atUnix: AT, ageMs: 1_000, final: false, rows: new Map() };

/** Message ids that may be the next one after a takeover. */
const candidates = (row = {}, checkpoint = {}, policy = {}) =>
  candidateIds({ ...ROW, ...row }, { ...CRASH, ...checkpoint }, { ...POLICY, ...policy });

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
    const resumed = (ageMs: number) =>
      resume(0, { spi: 'ab', sa, keys }, { ...CRASH, ageMs }, { dead: false, site: 0 });
    assert.equal(resumed(1_000).candidates, 2);
    assert.equal(resumed(90_000).candidates, 5);
    assert.equal(resumed(90_000).nextMid, 3);
    assert.equal(resumed(90_000).heardAgeMs, 0);
    // More than can be asked: not watched.
    assert.equal(resumed(30_000 * 70).policy.mode, Mode.DISABLED);
  });
});
