import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { VERSION } from '../../services/base/version.ts';
import { eventually } from '../eventually.ts';
import { DEAD, type Live, SPOKES, samplesOf, scrape, startLive } from './scraped.ts';

const NODE = fileURLToPath(new URL('../../services/node/main.ts', import.meta.url));
const DOC = new URL('../../docs/metrics.md', import.meta.url);

describe('a live node and its agent', { timeout: 60_000 }, () => {
  let live: Live;
  const pushed: Buffer[] = [];
  const collector = createServer((request, response) => {
    request.on('data', (bytes: Buffer) => pushed.push(bytes));
    request.on('end', () => response.end());
  });
  before(async () => {
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    const { port } = collector.address() as { port: number };
    live = await startLive({
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
      OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `http://127.0.0.1:${port}/v1/metrics`,
      OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'http/json',
      OTEL_METRIC_EXPORT_INTERVAL: '300',
    });
  });
  after(async () => {
    await live?.stop();
    collector.closeAllConnections();
    collector.close();
  });

  test('the resource names version and instance, and no command line', async () => {
    const { labels } = samplesOf(await scrape(live.node)).find(({ name }) => name === 'target_info')!;
    assert.equal(labels['service_name'], 'dpd-node');
    assert.equal(labels['service_version'], VERSION);
    assert.equal(labels['service_instance_id'], 'rig-node');
    assert.equal(labels['deployment_environment_name'], 'test');
    assert.deepEqual(
      Object.keys(labels).filter((name) => name.startsWith('process_command')),
      [],
    );
  });

  test('series of one metric add up to what the API counts', async () => {
    const samples = samplesOf(await scrape(live.node));
    const sum = (name: string) =>
      samples.filter((sample) => sample.name === name).reduce((total, { value }) => total + value, 0);
    assert.equal(sum('dpd_peers'), await live.rig.count('peers'));
    assert.equal(sum('dpd_verdicts_total'), DEAD);
    assert.equal(sum('dpd_shards'), 2);
    assert.equal(sum('dpd_streams'), 2);
    const before = await live.rig.count('probesSent');
    const sent = samplesOf(await scrape(live.node)).filter(({ name }) => name === 'dpd_probes_sent_total');
    const total = sent.reduce((all, { value }) => all + value, 0);
    assert(before <= total && total <= (await live.rig.count('probesSent')), `${total} probes`);
    assert(sent.some(({ labels, value }) => labels['dpd_probe_transmission'] === 'repeated' && value >= DEAD));
  });

  test('durations are in seconds, and say what happened', async () => {
    const samples = samplesOf(await scrape(live.node));
    const of = (name: string) => samples.find((sample) => sample.name === name)!.value;
    for (const name of ['dpd_detection_duration', 'dpd_verdict_lateness', 'dpd_verdict_log_duration'])
      assert.equal(of(`${name}_seconds_count`), DEAD, name);
    const detection = of('dpd_detection_duration_seconds_sum') / DEAD;
    assert(detection > 1.5 && detection < 10, `${detection} s until a death was found`);
    const lateness = of('dpd_verdict_lateness_seconds_sum') / DEAD;
    assert(lateness < 2, `${lateness} s late`);
    assert(of('dpd_failover_duration_seconds_sum') < 5 * DEAD);
    const applied = samplesOf(await scrape(live.agent)).find(
      ({ name }) => name === 'dpd_verdict_apply_duration_seconds_count',
    )!;
    assert.deepEqual([applied.labels['dpd_outcome'], applied.value], ['CLEARED', DEAD]);
  });

  test('every metric of docs/metrics.md is there, and none besides; no label names a peer', async () => {
    const texts = [await scrape(live.node), await scrape(live.agent)];
    const there = new Set(texts.flatMap(samplesOf).map(({ name }) => name.replace(/_(bucket|sum|count)$/, '')));
    there.delete('target_info');
    const suffix = { By: '_bytes', s: '_seconds' } as Record<string, string>;
    const rows = [...readFileSync(DOC, 'utf8').matchAll(/^\| `([a-z_.]+)` \| (\w+) \| (\S+) \| /gm)];
    const documented = new Set(
      rows.map(
        ([, name, kind, unit]) =>
          `${name!.replaceAll('.', '_')}${suffix[unit!] ?? ''}${kind === 'counter' ? '_total' : ''}`,
      ),
    );
    assert(documented.size > 30, `${documented.size} metrics in docs/metrics.md`);
    assert.deepEqual([...there].sort(), [...documented].sort());
    for (const text of texts) assert.doesNotMatch(text, /spoke-\d/);
  });

  test('the same is pushed, with the same resource, while Prometheus fetches', async () => {
    for (const part of ['"dpd.verdict.lateness"', '"service.instance.id"', '"rig-node"', '"dpd.peer.state"'])
      await eventually(`${part} is pushed`, 5_000, () => Buffer.concat(pushed).includes(part));
  });

  test('Kubernetes: alive for as long as it runs, ready while headends may come', async () => {
    const get = async (path: string) => {
      const response = await fetch(`${live.node}${path}`);
      return [response.status, await response.text()];
    };
    assert.deepEqual(await get('/livez'), [200, 'ok\n']);
    assert.deepEqual(await get('/readyz'), [200, 'ok\n']);
    assert.equal((await get('/'))[0], 404);
    assert.equal((await fetch(`${live.node}/livez`, { method: 'POST' })).status, 405);
    assert.equal((await fetch(`${live.agent}/readyz`)).status, 200);
    await live.rig.client.unary(OperatorService.method.setDraining, { draining: true });
    assert.deepEqual(await get('/readyz'), [503, 'draining\n']);
    assert.deepEqual(await get('/livez'), [200, 'ok\n']);
    await live.rig.client.unary(OperatorService.method.setDraining, { draining: false });
    assert.deepEqual(await get('/readyz'), [200, 'ok\n']);
    assert.equal(await live.rig.count('peers'), SPOKES - DEAD);
  });
});

test('a variable that names what there is not is one line, and exit code 2', () => {
  const run = (env: Record<string, string>) =>
    spawnSync(process.execPath, [NODE], { env: { ...process.env, ...env }, encoding: 'utf8', timeout: 30_000 });
  const exporter = run({ OTEL_TRACES_EXPORTER: 'jaeger' });
  assert.match(exporter.stderr.trim(), /^OTEL_TRACES_EXPORTER=jaeger: must be none, or some of [^\n]*$/);
  assert.equal(exporter.status, 2);
  const address = run({ DPD_METRICS_ADDRESS: '9464' });
  assert.match(address.stderr.trim(), /^DPD_METRICS_ADDRESS=9464: must be host:port[^\n]*$/);
  assert.equal(address.status, 2);
});
