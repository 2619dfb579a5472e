/** Writes what the table of counters says into operator.proto (message ShardCounters) and docs/metrics.md. */

import { readFileSync, writeFileSync } from 'node:fs';
import {
  AGENT_METRICS,
  ATTRIBUTES,
  FAILOVER_WORKER_METRICS,
  HISTOGRAMS,
  NODE_METRICS,
} from '../services/telemetry/metrics.ts';
import { ROUND_TRIP_METRIC } from '../services/telemetry/round-trips.ts';
import { COUNTER_ROWS } from '../workers/shard/counters.ts';

const PROTO = new URL('../proto/dpd/v1/operator.proto', import.meta.url);
const DOC = new URL('../docs/metrics.md', import.meta.url);
const MESSAGE = /message ShardCounters \{\n[\s\S]*?\n\}\n/;
const TYPES = { counter: 'uint64', gauge: 'uint32', flag: 'bool' } as const;

const fields = COUNTER_ROWS.toSorted(([, a], [, b]) => a.field - b.field).map(([name, { field, kind, help }]) => {
  const what = kind === 'counter' ? help : `Gauge: ${help}`;
  return `  // ${what}\n  ${TYPES[kind]} ${snake(name)} = ${field};\n`;
});
const message = `message ShardCounters {\n  string headend = 1;\n  uint32 shard = 2;\n  uint64 epoch = 3;\n${fields.join('')}}\n`;
const proto = readFileSync(PROTO, 'utf8');
if (!MESSAGE.test(proto)) throw new Error('operator.proto has no message ShardCounters');
writeFileSync(PROTO, proto.replace(MESSAGE, message));

const metrics = (by: 'node' | 'agent' | 'failover', instruments: object) => [
  ...Object.entries(instruments).map(([name, { kind, unit, description }]) => line(name, kind, unit, description)),
  ...Object.entries(HISTOGRAMS)
    .filter(([, histogram]) => histogram.by === by)
    .map(([name, { description }]) => line(name, 'histogram', 's', description)),
];
const counters = COUNTER_ROWS.map(([name, { kind, help, metric, attribute }]) => {
  const as = metric ? `\`${metric}\`${attribute ? ` ${attribute[0]}=${attribute[1]}` : ''}` : '';
  return `| \`${snake(name)}\` | ${kind} | ${help} | ${as} |\n`;
});
writeFileSync(
  DOC,
  [
    '# Metrics\n\n',
    '<!-- Written by `npm run generate` from workers/shard/counters.ts and services/telemetry/metrics.ts. -->\n\n',
    'Pushed over OTLP, as the standard `OTEL_*` variables say, and fetched by Prometheus at `--metrics-address`. Prometheus gets\n',
    'them with `_` for `.`, then the unit (`_seconds`, `_bytes`), then `_total` for a counter: `dpd_verdict_lateness_seconds_bucket`,\n',
    '`dpd_probes_sent_total`. Metrics of a shard also have the attributes `dpd.headend` and `dpd.shard`, durations of a node\n',
    '`dpd.headend`. No metric has an attribute per peer. Series of one metric never overlap, so they can be added up.\n\n',
    'The resource is `service.name` (`dpd-node`, `dpd-agent`, `dpd-failover`), `service.version`, `service.instance.id` (the node id,\n',
    'the headend, or a random one), host and process, and what `OTEL_RESOURCE_ATTRIBUTES` says. Nothing is exported before an\n',
    'endpoint, an exporter or `--metrics-address` is named.\n',
    ...section('A node', [
      ...metrics('node', NODE_METRICS),
      line(ROUND_TRIP_METRIC.name, 'histogram', ROUND_TRIP_METRIC.unit, ROUND_TRIP_METRIC.description),
    ]),
    ...section('An agent', metrics('agent', AGENT_METRICS)),
    ...section('A failover worker of its own', metrics('failover', FAILOVER_WORKER_METRICS)),
    '\n## Counters of a shard\n\n',
    '`OperatorService.GetCounters` gives all of them. Counters begin anew when a shard is loaded.\n\n',
    '| field | kind | meaning | metric |\n| --- | --- | --- | --- |\n',
    ...counters,
  ].join(''),
);

function section(title: string, lines: readonly string[]): string[] {
  const head = '| metric | kind | unit | meaning | told apart by |\n| --- | --- | --- | --- | --- |\n';
  return [`\n## ${title}\n\n`, head, ...lines];
}

/** A metric's row in the table. */
function line(name: string, kind: string, unit: string, description: string): string {
  const rows = COUNTER_ROWS.flatMap(([, { metric, attribute }]) => (metric === name && attribute ? [attribute] : []));
  const [attribute = rows[0]?.[0], ...values] = ATTRIBUTES[name] ?? [];
  const known = values.length > 0 ? values : rows.map(([, value]) => value);
  const apart = attribute ? `\`${attribute}\`: ${known.join(', ')}` : '';
  return `| \`${name}\` | ${kind} | ${unit} | ${description} | ${apart} |\n`;
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
