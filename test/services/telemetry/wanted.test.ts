import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readWanted, type Wanted } from '../../../services/telemetry/wanted.ts';

const NOTHING: Wanted = { traces: false, metrics: [], protocol: 'http/protobuf', scraped: undefined };
const CASES: readonly [NodeJS.ProcessEnv, Partial<Wanted>][] = [
  [{}, {}],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318' }, { traces: true, metrics: ['otlp'] }],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://c:4318' }, { traces: true }],
  [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://c:4318' }, { metrics: ['otlp'] }],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_SDK_DISABLED: 'TRUE' }, {}],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_TRACES_EXPORTER: 'none' }, { metrics: ['otlp'] }],
  [{ OTEL_METRICS_EXPORTER: 'otlp, console' }, { metrics: ['otlp', 'console'] }],
  [{ OTEL_METRICS_EXPORTER: 'prometheus' }, { scraped: { host: 'localhost', port: 9464 } }],
  [
    {
      OTEL_METRICS_EXPORTER: 'prometheus',
      OTEL_EXPORTER_PROMETHEUS_HOST: '0.0.0.0',
      OTEL_EXPORTER_PROMETHEUS_PORT: '9',
    },
    { scraped: { host: '0.0.0.0', port: 9 } },
  ],
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, { protocol: 'grpc' }],
  [
    { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'http/json' },
    { protocol: 'http/json' },
  ],
];

for (const [env, wanted] of CASES)
  test(`wanted with ${JSON.stringify(env)}`, () =>
    assert.deepEqual(readWanted(env, undefined), { ...NOTHING, ...wanted }));

test("the program's own address for Prometheus wins, and is served though the SDK is disabled", () => {
  const address = { host: '127.0.0.1', port: 1 };
  const env = { OTEL_METRICS_EXPORTER: 'prometheus', OTEL_SDK_DISABLED: 'true' };
  assert.deepEqual(readWanted(env, address), { ...NOTHING, scraped: address });
});

for (const [env, message] of [
  [{ OTEL_TRACES_EXPORTER: 'jaeger' }, /^OTEL_TRACES_EXPORTER=jaeger: must be none, or some of otlp, console, zipkin/],
  [{ OTEL_METRICS_EXPORTER: 'otlp,none' }, /^OTEL_METRICS_EXPORTER=otlp,none: must be none, or some of/],
  [{ OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'udp' }, /^OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=udp: must be grpc or /],
  [
    { OTEL_METRICS_EXPORTER: 'prometheus', OTEL_EXPORTER_PROMETHEUS_PORT: '99999' },
    /^OTEL_EXPORTER_PROMETHEUS_HOST=localhost, _PORT=99999: must be host:port, with a port from 0 to 65535$/,
  ],
] as const)
  test(`refused: ${JSON.stringify(env)}`, () =>
    assert.throws(() => readWanted(env, undefined), { name: 'SettingsError', message }));
