/** OpenTelemetry's SDK, set up: by the standard variables, which it reads itself, and with the resource that names this process. */

import { OTLPMetricExporter as GrpcExporter } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPMetricExporter as JsonExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtobufExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { metrics, NodeSDK, resources, type tracing } from '@opentelemetry/sdk-node';
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions';
import { VERSION } from '../base/version.ts';
import type { Scrape } from './http-server.ts';
import { PrometheusReader } from './prometheus-reader.ts';
import type { Wanted } from './wanted.ts';

/** The standard's default for OTEL_METRIC_EXPORT_INTERVAL and _TIMEOUT, ms. */
const EXPORT_MS = { interval: 60_000, timeout: 30_000 };
/** Series of one metric at most: 10 states of 10,000 shards. */
const MOST_SERIES = 100_000;
const ATTR_SERVICE_INSTANCE_ID = 'service.instance.id';
/** Not exported: a URL of Redis on the command line may have a password in it. */
const COMMAND_LINE = /^process\.command/;

/** Which process this is. */
export type SdkOptions = {
  /** service.name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES gives another. */
  readonly service: string;
  /** service.instance.id: no other process of this service has it. */
  readonly instance: string;
  /** Takes all spans, instead of what the environment says. */
  readonly processor?: tracing.SpanProcessor;
  /** Of metrics that are counted elsewhere. */
  readonly producers?: metrics.MetricProducer[];
};

export type Sdk = {
  /** Answers a request of Prometheus. */
  readonly scrape: Scrape | undefined;
  flush(): Promise<void>;
  stop(): Promise<void>;
};

/** Starts the SDK for all of the process. */
export function startSdk({ service, instance, processor, producers = [] }: SdkOptions, wanted: Wanted): Sdk {
  const prometheus = wanted.scraped && new PrometheusReader(producers);
  const pushed = wanted.metrics.map((name) =>
    periodic(name === 'console' ? new metrics.ConsoleMetricExporter() : otlpExporter(wanted.protocol), producers),
  );
  const sdk = new NodeSDK({
    resource: resources.defaultResource().merge(
      resources.resourceFromAttributes({
        [ATTR_SERVICE_NAME]: service,
        [ATTR_SERVICE_VERSION]: VERSION,
        [ATTR_SERVICE_INSTANCE_ID]: instance,
      }),
    ),
    // In this order: what the environment says wins.
    resourceDetectors: [resources.hostDetector, { detect: detectProcess }, resources.envDetector],
    metricReaders: prometheus ? [...pushed, prometheus] : pushed,
    views: [{ instrumentName: '*', aggregationCardinalityLimit: MOST_SERIES }],
    logRecordProcessors: [],
    ...(processor ? { spanProcessors: [processor] } : wanted.traces ? {} : { spanProcessors: [] }),
  });
  sdk.start();
  return {
    scrape: prometheus && ((request, response) => prometheus.getMetricsRequestHandler(request, response)),
    flush: async () => {
      await Promise.all(pushed.map((reader) => reader.forceFlush()));
    },
    stop: () => sdk.shutdown(),
  };
}

function otlpExporter(protocol: string): metrics.PushMetricExporter {
  if (protocol === 'grpc') return new GrpcExporter();
  return protocol === 'http/json' ? new JsonExporter() : new ProtobufExporter();
}

function periodic(
  exporter: metrics.PushMetricExporter,
  metricProducers: metrics.MetricProducer[],
): metrics.PeriodicExportingMetricReader {
  const interval = positive('OTEL_METRIC_EXPORT_INTERVAL') ?? EXPORT_MS.interval;
  const timeout = positive('OTEL_METRIC_EXPORT_TIMEOUT') ?? EXPORT_MS.timeout;
  return new metrics.PeriodicExportingMetricReader({
    exporter,
    metricProducers,
    exportIntervalMillis: interval,
    exportTimeoutMillis: Math.min(interval, timeout),
  });
}

function positive(variable: string): number | undefined {
  const value = Number(process.env[variable]);
  return value > 0 ? value : undefined;
}

function detectProcess(): resources.DetectedResource {
  const { attributes = {} } = resources.processDetector.detect();
  return { attributes: Object.fromEntries(Object.entries(attributes).filter(([name]) => !COMMAND_LINE.test(name))) };
}
