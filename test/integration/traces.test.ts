import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { tracing } from '@opentelemetry/sdk-node';
import { startTelemetry } from '../../services/telemetry/telemetry.ts';
import { inSpan, SuspicionTraces } from '../../services/telemetry/traces.ts';
import { eventually } from '../eventually.ts';
import { DETECTION_MS, Rig } from './rig.ts';

test('one trace from the first unanswered probe to the acknowledgement, across node and agent', async () => {
  const exporter = new tracing.InMemorySpanExporter();
  const processor = new tracing.SimpleSpanProcessor(exporter);
  const { stop } = await startTelemetry({ service: 'test', instance: 'test', processor }, {});
  const traces = new SuspicionTraces();
  const facts = { headend: 'h', shard: 0, peerId: 'p', sa: 'aa', firstProbeUnix: Date.now() - 5_000, attempts: 3 };
  const traceparent = traces.verdict(() => facts, 'v1');
  assert.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  traces.logged('v1');
  await inSpan('dpd.failover', traceparent, async () => {});
  // The first span waits until the SDK knows what machine this is.
  const finished = (spans: number) =>
    eventually(`${spans} spans`, 5_000, () => exporter.getFinishedSpans().length === spans);
  await finished(1);
  assert.equal(exporter.getFinishedSpans()[0]!.name, 'dpd.failover');
  traces.acknowledged('v1', 'FAILED_OVER');
  traces.recovered(() => facts);
  await finished(3);
  const [failover, suspicion, recovered] = exporter.getFinishedSpans();
  assert.equal(failover!.spanContext().traceId, suspicion!.spanContext().traceId);
  assert.equal(failover!.parentSpanContext?.spanId, suspicion!.spanContext().spanId);
  assert(Math.abs(suspicion!.startTime[0] * 1_000 + suspicion!.startTime[1] / 1e6 - facts.firstProbeUnix) < 2);
  assert.deepEqual(
    suspicion!.events.map(({ name }) => name),
    ['verdict', 'logged', 'acknowledged'],
  );
  assert.notEqual(recovered!.spanContext().traceId, suspicion!.spanContext().traceId);
  await stop();
});

test('a node exports traces and metrics over OTLP when it is configured; healthy peers make no spans', async (t) => {
  const bodies: Buffer[] = [];
  const metrics: Buffer[] = [];
  const collector = createServer((request, response) => {
    const store = request.url === '/v1/metrics' ? metrics : bodies;
    request.on('data', (bytes: Buffer) => store.push(bytes));
    request.on('end', () => response.end());
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const { port } = collector.address() as { port: number };
  const rig = await Rig.start({
    spokes: 50,
    nodeEnv: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_BSP_SCHEDULE_DELAY: '200',
      OTEL_METRIC_EXPORT_INTERVAL: '300',
    },
  });
  t.after(async () => {
    await rig.stop();
    collector.closeAllConnections();
    collector.close();
  });
  await rig.startAgent();
  await eventually('everyone was probed', 10_000, async () => (await rig.count('probesAnswered')) >= 100);
  assert.equal(Buffer.concat(bodies).includes('dpd.suspicion'), false, 'a healthy peer made a span');
  rig.responder.kill(7, 0);
  await eventually('the suspicion is exported', DETECTION_MS + 10_000, () =>
    Buffer.concat(bodies).includes('dpd.suspicion'),
  );
  assert(Buffer.concat(bodies).includes('spoke-7'));
  // Metrics go the same way, and never name a peer.
  for (const name of [
    'dpd.peers',
    'dpd.probes.sent',
    'dpd.suspicions.guarded',
    'blind_time',
    'dpd.verdict.lateness',
    'dpd.failovers',
    'rig-hub',
  ])
    await eventually(`${name} is exported`, 5_000, () => Buffer.concat(metrics).includes(name));
  assert.equal(Buffer.concat(metrics).includes('spoke-'), false, 'a metric names a peer');
});
