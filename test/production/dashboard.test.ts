import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { freePort } from '../../loadtest/free-port.ts';
import { eventually } from '../eventually.ts';
import { skipUnless } from '../requirements.ts';
import { type Live, samplesOf, scrape, startLive } from './scraped.ts';

const DEPLOY = fileURLToPath(new URL('../../deploy/', import.meta.url));
const RULES = join(DEPLOY, 'prometheus/dpd.rules.yaml');
const GUIDE = new URL('../../docs/guides/alerts.md', import.meta.url);
const skip = skipUnless({ prometheus: ['/usr/bin/prometheus', '/usr/bin/promtool'] }, { root: false });
/** Metrics of Prometheus itself. */
const ITS_OWN = new Set(['up']);

type Panel = { readonly title: string; readonly targets?: readonly { readonly expr: string }[] };
type Dashboard = {
  readonly panels: readonly Panel[];
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
};
type Rule = { readonly alert: string; readonly expr: string; readonly annotations: { readonly runbook: string } };

const dashboard = JSON.parse(readFileSync(join(DEPLOY, 'grafana/dpd-offload.json'), 'utf8')) as Dashboard;
const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
const rules = (parse(readFileSync(RULES, 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
);

/** What Grafana asks, with all headends. */
function filledIn(expr: string): string {
  return expr.replaceAll('$headend', '.*').replaceAll('$__rate_interval', '10s');
}

test('alerts: not before their time, and each of them tested by promtool', { skip }, () => {
  const file = 'dpd.rules.test.yaml';
  const run = spawnSync('promtool', ['test', 'rules', file], { cwd: join(DEPLOY, 'prometheus'), encoding: 'utf8' });
  assert.equal(run.status, 0, run.stdout + run.stderr);
  const { tests } = parse(readFileSync(join(DEPLOY, 'prometheus', file), 'utf8')) as {
    tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[];
  };
  const cases = tests.flatMap(({ alert_rule_test }) => alert_rule_test);
  for (const { alert } of rules)
    for (const fires of [true, false])
      assert(
        cases.some(({ alertname, exp_alerts }) => alertname === alert && exp_alerts.length > 0 === fires),
        `${alert} is not tested to ${fires ? 'fire' : 'be quiet'}`,
      );
});

test('each alert has its section in the guide', () => {
  const guide = readFileSync(GUIDE, 'utf8');
  const sections = [...guide.matchAll(/^## (Dpd\w+)$/gm)].map(([, name]) => name!);
  assert.deepEqual(
    sections,
    rules.map(({ alert }) => alert),
  );
  for (const { alert, annotations } of rules)
    assert.equal(annotations.runbook, `docs/guides/alerts.md#${alert.toLowerCase()}`);
});

describe('a Prometheus that scrapes a live node and agent', { skip, timeout: 90_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'dpd-prometheus-'));
  let live: Live;
  let prometheus: ChildProcess;
  let url = '';

  const query = async (expr: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]> => {
    const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(filledIn(expr))}`);
    const { status, error, data } = (await response.json()) as { status: string; error?: string; data: { result: [] } };
    assert.equal(status, 'success', `${expr}: ${error}`);
    return data.result;
  };

  before(async () => {
    live = await startLive();
    const port = await freePort();
    const job = (name: string, target: string) => ({
      job_name: name,
      static_configs: [{ targets: [target.replace('http://', '')] }],
    });
    const config = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [RULES],
      scrape_configs: [job('dpd-node', live.node), job('dpd-agent', live.agent)],
    };
    const file = join(directory, 'prometheus.json');
    writeFileSync(file, JSON.stringify(config));
    url = `http://127.0.0.1:${port}`;
    prometheus = spawn(
      'prometheus',
      [
        `--config.file=${file}`,
        `--storage.tsdb.path=${join(directory, 'tsdb')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    );
    // Rates need two samples.
    await eventually('both are scraped', 30_000, async () =>
      query('sum(count_over_time(dpd_agent_sas[1m])) + sum(count_over_time(dpd_members[1m]))').then(
        ([sum]) => Number(sum?.value[1]) >= 8,
        () => false,
      ),
    );
  });
  after(async () => {
    if (prometheus) {
      prometheus.kill('SIGKILL');
      await once(prometheus, 'exit');
    }
    await live?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test('every metric that dashboard and alerts name is there', async () => {
    const samples = [...samplesOf(await scrape(live.node)), ...samplesOf(await scrape(live.agent))];
    const names = new Set(samples.map(({ name }) => name));
    const labels = new Set(['job', 'instance', 'le', ...samples.flatMap((sample) => Object.keys(sample.labels))]);
    const exprs = [...queries, ...dashboard.annotations.list, ...rules].map(({ expr }) => expr);
    for (const expr of exprs)
      for (const [word] of expr.replaceAll(/"[^"]*"/g, '').matchAll(/\b(?:dpd|process|up)(?:_[a-z_]+)?\b/g))
        assert(names.has(word) || labels.has(word) || ITS_OWN.has(word), `${word} in ${expr}`);
    assert(exprs.length > 40, `${exprs.length} queries`);
  });

  test('every query of the dashboard has an answer', async () => {
    for (const { title, expr } of queries) assert.notEqual((await query(expr)).length, 0, `${title}: ${expr}`);
  });

  test('Prometheus takes every alert, and a healthy cluster rings none of the pressing ones', async () => {
    const response = await fetch(`${url}/api/v1/rules`);
    const { data } = (await response.json()) as {
      data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] };
    };
    const taken = data.groups.flatMap((group) => group.rules);
    assert.deepEqual(
      taken.map(({ name }) => name),
      rules.map(({ alert }) => alert),
    );
    for (const { name, health, lastError } of taken) assert.equal(health, 'ok', `${name}: ${lastError}`);
    const firing = await query('ALERTS{severity="critical"}');
    assert.deepEqual(firing, []);
  });
});
