/** Every metric there is, by program, and how they are observed. Never a label per peer. */

import {
  type Attributes,
  type BatchObservableResult,
  type Histogram,
  metrics,
  type Observable,
} from '@opentelemetry/api';
import { SHARD_METRICS } from '../../workers/shard/counters.ts';
import { VERSION } from '../base/version.ts';

const METER = 'dpd-offload';

/** An instrument that is read when it is exported: a counter only grows, a gauge is the present value. */
type ReadInstrument = { readonly kind: 'gauge' | 'counter'; readonly unit: string; readonly description: string };

const PROCESS_METRICS = {
  'process.cpu.time': { kind: 'counter', unit: 's', description: 'CPU time of the process, by cpu.mode' },
  'process.memory.usage': { kind: 'gauge', unit: 'By', description: 'physical memory of the process' },
} as const satisfies Record<string, ReadInstrument>;

const REFUSED_METRICS = {
  'dpd.input.refused': {
    kind: 'counter',
    unit: '{input}',
    description: 'what came from Redis or its channel and was none of ours, by source',
  },
} as const satisfies Record<string, ReadInstrument>;

const FAILOVER_METRICS = {
  'dpd.failovers': { kind: 'counter', unit: '{failover}', description: 'failovers, by what this process did' },
} as const satisfies Record<string, ReadInstrument>;

/** What a node exports. */
export const NODE_METRICS = {
  ...SHARD_METRICS,
  'dpd.shards': { kind: 'gauge', unit: '{shard}', description: 'shards hosted here' },
  'dpd.streams': { kind: 'gauge', unit: '{stream}', description: '1 if the headend of the shard is connected' },
  'dpd.members': { kind: 'gauge', unit: '{node}', description: 'nodes that live, as this one knows' },
  'dpd.draining': { kind: 'gauge', unit: '{node}', description: '1 while the node gives its shards away' },
  'dpd.redis.silence': { kind: 'gauge', unit: 's', description: 'since Redis took a beat of this node' },
  ...FAILOVER_METRICS,
  ...REFUSED_METRICS,
  ...PROCESS_METRICS,
} as const satisfies Record<string, ReadInstrument>;

/** What an agent exports. */
export const AGENT_METRICS = {
  'dpd.agent.shards': {
    kind: 'gauge',
    unit: '{shard}',
    description: 'shards of the headend, by whether a node has them',
  },
  'dpd.agent.sas': { kind: 'gauge', unit: '{sa}', description: 'SAs that the cluster is to watch' },
  'dpd.agent.repairs': { kind: 'counter', unit: '{repair}', description: 'reconciliations that found a difference' },
  ...PROCESS_METRICS,
} as const satisfies Record<string, ReadInstrument>;

/** What a failover worker of its own exports. */
export const FAILOVER_WORKER_METRICS = { ...FAILOVER_METRICS, ...PROCESS_METRICS } as const;

const SHORT_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const LONG_S = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600];

/** Durations, s, with the upper bounds of their buckets. */
export const HISTOGRAMS = {
  'dpd.detection.duration': {
    by: 'node',
    bounds: LONG_S,
    description: 'from the last evidence of a peer to the verdict that it is dead',
  },
  'dpd.verdict.lateness': {
    by: 'node',
    bounds: SHORT_S,
    description: 'from the earliest moment that the policy allows to the verdict',
  },
  'dpd.verdict.log.duration': { by: 'node', bounds: SHORT_S, description: 'from the verdict until Redis has it' },
  'dpd.failover.duration': {
    by: 'node',
    bounds: LONG_S,
    description: "from the verdict to the data plane's answer, by its outcome, at the owner of the shard",
  },
  'dpd.verdict.apply.duration': {
    by: 'agent',
    bounds: LONG_S,
    description: 'until the headend has done what a verdict says, by the outcome',
  },
} as const satisfies Record<string, { by: 'node' | 'agent'; bounds: readonly number[]; description: string }>;

/** Names of the API's Outcome. */
const OUTCOMES = ['CLEARED', 'FAILED_OVER', 'SA_GONE', 'FAILOVER_FAILED', 'PEER_ALIVE', 'NOTIFIED'];

/** Attributes that tell apart what is counted on the main thread, for docs/metrics.md. */
export const ATTRIBUTES: Readonly<Record<string, readonly [name: string, ...values: string[]]>> = {
  'dpd.failovers': ['dpd.failover.step', 'done', 'next_endpoint', 'given_up'],
  'dpd.input.refused': ['dpd.input.source', 'bus', 'redis'],
  'dpd.agent.shards': ['dpd.agent.shard.state', 'connected', 'away'],
  'process.cpu.time': ['cpu.mode', 'user', 'system'],
  'dpd.failover.duration': ['dpd.outcome', ...OUTCOMES],
  'dpd.verdict.apply.duration': ['dpd.outcome', ...OUTCOMES],
};

export type MetricName = keyof typeof NODE_METRICS | keyof typeof AGENT_METRICS;
/** One value to export. */
export type Metric = { readonly name: MetricName; readonly value: number; readonly attributes?: Attributes };

/**
 * Has a program's metrics read whenever they are exported.
 * @param read the values as they are now; a value that cannot be read is left out of that export
 */
export function observe(
  instruments: Readonly<Partial<Record<MetricName, ReadInstrument>>>,
  read: () => readonly Metric[] | Promise<readonly Metric[]>,
): void {
  const meter = metrics.getMeter(METER, VERSION);
  const observables = new Map<string, Observable>(
    Object.entries(instruments).map(([name, { kind, ...options }]) => [
      name,
      kind === 'gauge' ? meter.createObservableGauge(name, options) : meter.createObservableCounter(name, options),
    ]),
  );
  const observeAll = async (result: BatchObservableResult) => {
    for (const { name, value, attributes } of [...(await read()), ...processMetrics()])
      result.observe(observables.get(name)!, value, attributes);
  };
  meter.addBatchObservableCallback(observeAll, [...observables.values()]);
}

/** A histogram of seconds. Without telemetry it costs nothing, with it 0.25 us a value. */
export function durations(name: keyof typeof HISTOGRAMS): Histogram {
  const { bounds, description } = HISTOGRAMS[name];
  return metrics
    .getMeter(METER, VERSION)
    .createHistogram(name, { unit: 's', description, advice: { explicitBucketBoundaries: [...bounds] } });
}

function processMetrics(): Metric[] {
  const { user, system } = process.cpuUsage();
  return [
    { name: 'process.cpu.time', value: user / 1e6, attributes: { 'cpu.mode': 'user' } },
    { name: 'process.cpu.time', value: system / 1e6, attributes: { 'cpu.mode': 'system' } },
    { name: 'process.memory.usage', value: process.memoryUsage.rss() },
  ];
}
