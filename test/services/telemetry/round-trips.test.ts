import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { roundTripProducer } from '../../../services/telemetry/round-trips.ts';
import { RoundTrips } from '../../../workers/liveness/round-trips.ts';

test('round trips are exported as a histogram in seconds, by headend and shard', async () => {
  const trips = new RoundTrips(1);
  for (const ms of [0.3, 1.5, 3, 3.9, 100, 20_000]) trips.sample(0, ms);
  const attributes = { 'dpd.headend': 'hub', 'dpd.shard': 0 };
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({
    exporter,
    metricProducers: [roundTripProducer(async () => [{ attributes, counts: trips.counts() }])],
  });
  const provider = new MeterProvider({ readers: [reader] });
  await provider.forceFlush();
  const [metric] = exporter.getMetrics()[0]!.scopeMetrics.flatMap(({ metrics }) => metrics);
  await provider.shutdown();
  assert.equal(metric!.descriptor.unit, 's');
  const [point] = metric!.dataPoints;
  assert.deepEqual(point!.attributes, attributes);
  const { buckets, count, sum } = point!.value as {
    buckets: { boundaries: number[]; counts: number[] };
    count: number;
    sum: number;
  };
  assert.equal(count, 6);
  assert.ok(Math.abs(sum - 20.1087) < 1e-9);
  const upTo = (seconds: number) =>
    buckets.counts.slice(0, buckets.boundaries.indexOf(seconds) + 1).reduce((all, one) => all + one, 0);
  assert.deepEqual([upTo(0.001), upTo(0.002), upTo(0.004), upTo(0.064), upTo(0.128), upTo(16.384)], [1, 2, 4, 4, 5, 5]);
});
