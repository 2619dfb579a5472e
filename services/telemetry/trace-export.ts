/** Exports spans with OpenTelemetry's SDK, which takes 37 MB of memory and is loaded only if traces are wanted. */

import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider, type SpanProcessor } from '@opentelemetry/sdk-trace-node';
import { ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions';

/** Sends spans into a processor, by default over OTLP as the environment says. Returns what flushes and stops it. */
export function exportTraces(
  service: string,
  env: NodeJS.ProcessEnv,
  processor: SpanProcessor = new BatchSpanProcessor(new OTLPTraceExporter()),
): () => Promise<void> {
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ [ATTR_SERVICE_NAME]: env['OTEL_SERVICE_NAME'] ?? service }),
    spanProcessors: [processor],
  });
  provider.register();
  return () => provider.shutdown();
}
