/**
 * Metrics: a shard's counters and what the guards against false death did, read when they are exported. Over OTLP when the
 * standard OTEL_EXPORTER_OTLP_ENDPOINT (or ..._METRICS_ENDPOINT) is set, off otherwise. Never a label per peer.
 */

import type { Attributes, BatchObservableResult, Observable } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions';

const METER = 'dpd-offload';
const INTERVAL_MS = 10_000;

/** One value to export. */
export type Reading = {
  readonly name: keyof typeof INSTRUMENTS;
  readonly value: number;
  readonly attributes?: Attributes;
};

/** Everything that is exported: counters only grow, gauges are what is now. */
export const INSTRUMENTS = {
  'dpd.peers': { kind: 'gauge', unit: '{sa}', description: 'SAs held, by state' },
  'dpd.path.vouched': { kind: 'gauge', unit: '1', description: '1 if the path of the shard is vouched for' },
  'dpd.probes.behind': { kind: 'gauge', unit: 'ms', description: 'how late probes are for want of budget' },
  'dpd.members': { kind: 'gauge', unit: '{node}', description: 'nodes that live, as this one knows' },
  'dpd.verdicts.waiting': { kind: 'gauge', unit: '{verdict}', description: 'verdicts that wait for Redis' },
  'dpd.verdicts.held': { kind: 'gauge', unit: '{verdict}', description: 'verdicts held back' },
  'dpd.probes': { kind: 'counter', unit: '{probe}', description: 'probes, by what became of them' },
  'dpd.replies.dropped': { kind: 'counter', unit: '{reply}', description: 'replies that proved nothing, by reason' },
  'dpd.verdicts': { kind: 'counter', unit: '{verdict}', description: 'verdicts decided' },
  'dpd.guard': { kind: 'counter', unit: '{action}', description: 'what guards against false death did, by guard' },
  'dpd.failovers': { kind: 'counter', unit: '{failover}', description: 'failovers, by what this worker did' },
} as const satisfies Record<string, { kind: 'gauge' | 'counter'; unit: string; description: string }>;

/**
 * Starts exporting if it is configured. Returns what flushes and stops it.
 * @param read the values as they are now; a reading that fails is left out of that export
 */
export function startMetrics(
  service: string,
  read: () => Promise<readonly Reading[]>,
  env = process.env,
): () => Promise<void> {
  if (!env['OTEL_EXPORTER_OTLP_ENDPOINT'] && !env['OTEL_EXPORTER_OTLP_METRICS_ENDPOINT']) return async () => {};
  const reader = new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter(),
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
