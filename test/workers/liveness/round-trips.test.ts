import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RoundTrips } from '../../../workers/liveness/round-trips.ts';

/** RFC 6298 section 2, in plain numbers. */
function smoothed(samples: readonly number[]): { smoothed: number; variation: number } {
  const [first, ...rest] = samples as [number, ...number[]];
  let [srtt, rttvar] = [first, first / 2];
  for (const r of rest) {
    rttvar = (3 / 4) * rttvar + (1 / 4) * Math.abs(srtt - r);
    srtt = (7 / 8) * srtt + (1 / 8) * r;
  }
  return { smoothed: srtt, variation: rttvar };
}

describe('round trips', () => {
  test('are smoothed as RFC 6298 says, to a thousandth and an eighth of a millisecond', () => {
    const samples = fc.array(fc.double({ min: 0.05, max: 3_000, noNaN: true }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(samples, (ms) => {
        const trips = new RoundTrips(2);
        for (const each of ms) trips.sample(1, each);
        const expected = smoothed(ms);
        const { smoothedMs, variationMs } = trips.of(1);
        assert.ok(Math.abs(smoothedMs - expected.smoothed) <= expected.smoothed * 1e-3);
        assert.ok(Math.abs(variationMs - expected.variation) <= 0.125 + expected.variation * 1e-3);
        assert.equal(trips.of(0).smoothedMs, 0, 'a neighbour changed');
      }),
    );
  });

  test('the variation ends at 4 s', () => {
    const trips = new RoundTrips(1);
    trips.sample(0, 60_000);
    assert.equal(trips.of(0).variationMs, 65_535 / 16);
  });

  test('loss is that of the last 64 probes', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (lost) => {
        const trips = new RoundTrips(1);
        for (const each of lost) each ? trips.lost(0) : trips.answered(0);
        const last = lost.slice(-64);
        const { probes, lost: counted } = trips.of(0);
        assert.deepEqual([probes, counted], [last.length, last.filter(Boolean).length]);
      }),
    );
  });

  test('outlast growth, and end when they are cleared', () => {
    const trips = new RoundTrips(1);
    trips.sample(0, 10);
    trips.lost(0);
    trips.grow(100);
    assert.deepEqual(trips.of(0), { smoothedMs: 10, variationMs: 5, probes: 1, lost: 1 });
    trips.clear(0);
    assert.deepEqual(trips.of(0), { smoothedMs: 0, variationMs: 0, probes: 0, lost: 0 });
  });
});
