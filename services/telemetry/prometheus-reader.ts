/** Metrics for Prometheus, named as OpenTelemetry's specification has it ("Prometheus and OpenMetrics Compatibility"): with their unit. */

import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import type { metrics } from '@opentelemetry/sdk-node';

/** The units that metrics here have; in braces are things counted, which Prometheus does not name. */
const UNITS: Readonly<Record<string, string>> = { s: 'seconds', By: 'bytes' };

export class PrometheusReader extends PrometheusExporter {
  constructor(metricProducers: metrics.MetricProducer[]) {
    super({ preventServerStart: true, metricProducers, withoutScopeInfo: true });
  }

  override async collect(...[options]: Parameters<PrometheusExporter['collect']>): Promise<metrics.CollectionResult> {
    const { resourceMetrics, errors } = await super.collect(options);
    const scopeMetrics = resourceMetrics.scopeMetrics.map((scope) => ({
      ...scope,
      metrics: scope.metrics.map((metric) => ({ ...metric, descriptor: named(metric.descriptor) })),
    }));
    return { errors, resourceMetrics: { ...resourceMetrics, scopeMetrics } };
  }
}

/** The unit is part of the name, and has no line of its own: OpenMetrics knows none in braces. */
function named(descriptor: metrics.MetricDescriptor): metrics.MetricDescriptor {
  const unit = UNITS[descriptor.unit];
  return { ...descriptor, unit: '', name: unit ? `${descriptor.name}.${unit}` : descriptor.name };
}
