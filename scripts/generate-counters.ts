/** Writes what the table of counters says into operator.proto (message ShardCounters) and docs/metrics.md. */

import { readFileSync, writeFileSync } from 'node:fs';
import { INSTRUMENTS } from '../services/telemetry/metrics.ts';
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

const metrics = Object.entries(INSTRUMENTS).map(([name, { kind, unit, description }]) => {
  const rows = COUNTER_ROWS.flatMap(([, { metric, attribute }]) => (metric === name && attribute ? [attribute] : []));
  const attributes = rows.length === 0 ? '' : `\`${rows[0]![0]}\`: ${rows.map(([, value]) => value).join(', ')}`;
  return `| \`${name}\` | ${kind} | ${unit} | ${description} | ${attributes} |\n`;
});
const counters = COUNTER_ROWS.map(([name, { kind, help, metric, attribute }]) => {
  const as = metric ? `\`${metric}\`${attribute ? ` ${attribute[0]}=${attribute[1]}` : ''}` : '';
  return `| \`${snake(name)}\` | ${kind} | ${help} | ${as} |\n`;
});
writeFileSync(
  DOC,
  [
    '# Metrics\n\n',
    '<!-- Written by `npm run generate` from workers/shard/counters.ts and services/telemetry/metrics.ts. -->\n\n',
    'Exported over OTLP where `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Metrics of a shard also carry `dpd.headend` and `dpd.shard`.\n',
    'No metric has a label per peer.\n\n',
    '| metric | kind | unit | meaning | told apart by |\n| --- | --- | --- | --- | --- |\n',
    ...metrics,
    `| \`${ROUND_TRIP_METRIC.name}\` | histogram | ${ROUND_TRIP_METRIC.unit} | ${ROUND_TRIP_METRIC.description} | |\n`,
    '\n## Counters of a shard\n\n',
    '`OperatorService.GetCounters` gives all of them. Counters begin anew when a shard is loaded.\n\n',
    '| field | kind | meaning | metric |\n| --- | --- | --- | --- |\n',
    ...counters,
  ].join(''),
);

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
