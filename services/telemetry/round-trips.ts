/** The histogram of probes' round trips. Threads count them; here their counts are handed to the metrics' reader as they are. */

import { type Attributes, ValueType } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';
import { BOUNDS_MS, type RoundTripCounts } from '../../workers/liveness/round-trips.ts';

const SCOPE = { name: 'dpd-offload' };
const BOUNDARIES = BOUNDS_MS.map((ms) => ms / 1_000);
export const ROUND_TRIP_METRIC = {
  name: 'dpd.probe.round_trip',
  description: 'time from a probe that was sent once to its answer',
  unit: 's',
  valueType: ValueType.DOUBLE,
};

/** Counts of one shard since it was loaded. */
export type ShardRoundTrips = { readonly attributes: Attributes; readonly counts: RoundTripCounts };

/** For the option metricProducers of a reader. @param read the counts as they are now */
export function roundTripProducer(read: () => Promise<readonly ShardRoundTrips[]>): MetricProducer {
  const startTime = now();
  return {
    async collect(): Promise<CollectionResult> {
      const endTime = now();
      const dataPoints = (await read()).map(({ attributes, counts: { counts, sumMs } }) => ({
        startTime,
        endTime,
        attributes,
        value: {
          buckets: { boundaries: BOUNDARIES, counts: [...counts] },
          count: counts.reduce((sum, count) => sum + count, 0),
          sum: sumMs / 1_000,
        },
      }));
      const metric = {
        descriptor: ROUND_TRIP_METRIC,
        aggregationTemporality: AggregationTemporality.CUMULATIVE,
        dataPointType: DataPointType.HISTOGRAM as const,
        dataPoints,
      };
      const scopeMetrics = [{ scope: SCOPE, metrics: dataPoints.length > 0 ? [metric] : [] }];
      return { resourceMetrics: { resource: resourceFromAttributes({}), scopeMetrics }, errors: [] };
    },
  };
}

function now(): [seconds: number, nanoseconds: number] {
  const ms = Date.now();
  return [Math.floor(ms / 1_000), (ms % 1_000) * 1_000_000];
}
