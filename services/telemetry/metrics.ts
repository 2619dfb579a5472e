/**
 * Metrics: a shard's counters and the actions of the guards against false verdicts, read when they are exported. Over OTLP
 * when the standard OTEL_EXPORTER_OTLP_ENDPOINT (or ..._METRICS_ENDPOINT) is set, off otherwise. Never a label per peer.
 */

import type { Attributes, BatchObservableResult, Observable } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, type MetricProducer, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions';
import { SHARD_METRICS } from '../../workers/shard/counters.ts';

const METER = 'dpd-offload';
const INTERVAL_MS = 10_000;

/** One value to export. */
export type Metric = {
  readonly name: keyof typeof INSTRUMENTS;
  readonly value: number;
  readonly attributes?: Attributes;
};

/** Everything that is exported: counters only grow, gauges are present values. */
export const INSTRUMENTS = {
  ...SHARD_METRICS,
  'dpd.members': { kind: 'gauge', unit: '{node}', description: 'nodes that live, as this one knows' },
  'dpd.input.refused': {
    kind: 'counter',
    unit: '{input}',
    description: 'what came from Redis, from its channel or from the ha feed and was none of ours, by source',
  },
  'dpd.failovers': { kind: 'counter', unit: '{failover}', description: 'failovers, by what this node did' },
} as const satisfies Record<string, { kind: 'gauge' | 'counter'; unit: string; description: string }>;

/**
 * Starts exporting if it is configured. Returns the function that flushes and stops it.
 * @param read the values as they are now; a value that cannot be read is left out of that export
 * @param metricProducers of what is counted elsewhere
 */
export function startMetrics(
  service: string,
  read: () => Promise<readonly Metric[]>,
  metricProducers: MetricProducer[] = [],
  env = process.env,
): () => Promise<void> {
  if (!env['OTEL_EXPORTER_OTLP_ENDPOINT'] && !env['OTEL_EXPORTER_OTLP_METRICS_ENDPOINT']) return async () => {};
  const reader = new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter(),
    metricProducers,
    exportIntervalMillis: Number(env['OTEL_METRIC_EXPORT_INTERVAL']) || INTERVAL_MS,
    exportTimeoutMillis: Number(env['OTEL_METRIC_EXPORT_INTERVAL']) || INTERVAL_MS,
  });
  const provider = new MeterProvider({
    resource: resourceFromAttributes({ [ATTR_SERVICE_NAME]: env['OTEL_SERVICE_NAME'] ?? service }),
    readers: [reader],
  });
  const meter = provider.getMeter(METER);
  const instruments = new Map<string, Observable>(
    Object.entries(INSTRUMENTS).map(([name, { kind, ...options }]) => [
      name,
      kind === 'gauge' ? meter.createObservableGauge(name, options) : meter.createObservableCounter(name, options),
    ]),
  );
  const observe = async (result: BatchObservableResult) => {
    for (const { name, value, attributes } of await read()) result.observe(instruments.get(name)!, value, attributes);
  };
  meter.addBatchObservableCallback(observe, [...instruments.values()]);
  return () => provider.shutdown();
}
