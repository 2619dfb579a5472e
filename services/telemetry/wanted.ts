/**
 * What of telemetry is wanted, by the standard variables (OpenTelemetry's specification, "Environment Variable Specification").
 * One difference: nothing is exported before an exporter or an endpoint is named, although the standard's default is a
 * collector on this host.
 */

import { SettingsError } from '../../workers/base/errors.ts';
import { type HttpAddress, parseHttpAddress } from './settings.ts';

const EXPORTERS = { TRACES: ['otlp', 'console', 'zipkin'], METRICS: ['otlp', 'console', 'prometheus'] } as const;
const PROTOCOLS = ['grpc', 'http/protobuf', 'http/json'];
const PROMETHEUS = { host: 'localhost', port: '9464' };

/** Where metrics go. */
export type MetricsExporter = (typeof EXPORTERS.METRICS)[number];

export type Wanted = {
  readonly traces: boolean;
  /** Prometheus is not among them: see `scraped`. */
  readonly metrics: readonly Exclude<MetricsExporter, 'prometheus'>[];
  /** Protocol of OTLP for metrics. */
  readonly protocol: string;
  /** Where Prometheus fetches metrics. */
  readonly scraped: HttpAddress | undefined;
};

/** Throws SettingsError if a variable names what there is not. @param address the program's own setting for Prometheus */
export function readWanted(env: NodeJS.ProcessEnv, address: HttpAddress | undefined): Wanted {
  const protocol = readProtocol(env);
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true')
    return { traces: false, metrics: [], protocol, scraped: address };
  const traces = readExporters(env, 'TRACES');
  const metrics = readExporters(env, 'METRICS') as MetricsExporter[];
  return {
    traces: traces.length > 0,
    metrics: metrics.filter((name) => name !== 'prometheus'),
    protocol,
    scraped: address ?? (metrics.includes('prometheus') ? readPrometheus(env) : undefined),
  };
}

function readExporters(env: NodeJS.ProcessEnv, signal: keyof typeof EXPORTERS): string[] {
  const variable = `OTEL_${signal}_EXPORTER`;
  const named = env[variable] ?? '';
  if (named.trim() === '') {
    const endpoint = env['OTEL_EXPORTER_OTLP_ENDPOINT'] || env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`];
    return endpoint ? ['otlp'] : [];
  }
  const names = [...new Set(named.split(',').map((name) => name.trim()))];
  if (names.length === 1 && names[0] === 'none') return [];
  const known: readonly string[] = EXPORTERS[signal];
  for (const name of names)
    if (!known.includes(name))
      throw new SettingsError(
        `${variable}=${named}: must be none, or some of ${known.join(', ')}, with commas between`,
      );
  return names;
}

function readProtocol(env: NodeJS.ProcessEnv): string {
  for (const variable of ['PROTOCOL', 'TRACES_PROTOCOL', 'METRICS_PROTOCOL'].map(
    (name) => `OTEL_EXPORTER_OTLP_${name}`,
  )) {
    const value = env[variable]?.trim();
    if (value && !PROTOCOLS.includes(value))
      throw new SettingsError(`${variable}=${value}: must be ${PROTOCOLS.join(' or ')}`);
  }
  return (
    env['OTEL_EXPORTER_OTLP_METRICS_PROTOCOL']?.trim() || env['OTEL_EXPORTER_OTLP_PROTOCOL']?.trim() || PROTOCOLS[1]!
  );
}

function readPrometheus(env: NodeJS.ProcessEnv): HttpAddress {
  const host = env['OTEL_EXPORTER_PROMETHEUS_HOST'] || PROMETHEUS.host;
  const port = env['OTEL_EXPORTER_PROMETHEUS_PORT'] || PROMETHEUS.port;
  try {
    return parseHttpAddress(`${host}:${port}`);
  } catch (error) {
    throw new SettingsError(`OTEL_EXPORTER_PROMETHEUS_HOST=${host}, _PORT=${port}: ${(error as Error).message}`);
  }
}
