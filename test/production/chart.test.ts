import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { Deployment, StatefulSet } from 'kubernetes-models/apps/v1';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { Service } from 'kubernetes-models/v1';
import { parse, parseAllDocuments } from 'yaml';
import { VERSION } from '../../services/base/version.ts';
import { FAILOVER_WORKER_SETTINGS } from '../../services/failover/settings.ts';
import { NODE_SETTINGS } from '../../services/node/settings.ts';
import { render } from './go-template.ts';
import { ROOT } from './run.ts';

const CHART = join(ROOT, 'deploy/kubernetes/dpd-offload');
const KINDS = { Deployment, NetworkPolicy, PodDisruptionBudget, Service, StatefulSet } as const;

type Values = Readonly<Record<string, unknown>>;
type Resource = {
  readonly kind: keyof typeof KINDS;
  readonly metadata: { readonly name: string };
  readonly spec: unknown;
};
type Variable = { readonly name: string; readonly value?: string };

const chart = parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')) as { version: string; appVersion: string };
const defaults = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Values;
const schema = new Ajv({ strictTypes: false }).compile({
  ...(JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as object),
  $schema: 'http://json-schema.org/draft-07/schema#',
});

/** Values over others, as helm merges them: objects member by member. */
function merge(under: Values, over: Values): Values {
  const isMap = (value: unknown): value is Values =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const merged = Object.entries(over).map(([name, value]) => {
    const before = under[name];
    return [name, isMap(before) && isMap(value) ? merge(before, value) : value];
  });
  return { ...under, ...Object.fromEntries(merged) };
}

/** What `helm template trial` makes of the chart. */
function resources(changed: Values = {}): Resource[] {
  const values = merge(defaults, changed);
  assert(schema(values), JSON.stringify(schema.errors));
  const root = { Values: values, Release: { Name: 'trial' }, Chart: { AppVersion: chart.appVersion } };
  return readdirSync(join(CHART, 'templates')).flatMap((file) => {
    const documents = parseAllDocuments(render(readFileSync(join(CHART, 'templates', file), 'utf8'), root));
    return documents.flatMap((document) => {
      assert.deepEqual(document.errors, [], file);
      return (document.toJS() as Resource | null) ?? [];
    });
  });
}

/** @returns the resource of a kind, with a name that ends so */
function one<T>(all: readonly Resource[], kind: Resource['kind'], end = ''): T {
  const found = all.filter((resource) => resource.kind === kind && resource.metadata.name.endsWith(end));
  assert.equal(found.length, 1, `${kind} ${end}`);
  return found[0] as T;
}

const VARIANTS: readonly [string, Values][] = [
  ['as it is', {}],
  ['on the network of pods', { hostNetwork: false, networkPolicy: { enabled: false } }],
  [
    'with failover workers and more settings',
    { failover: { replicas: 2 }, env: [{ name: 'OTEL_TRACES_EXPORTER', value: 'otlp' }] },
  ],
  [
    'elsewhere',
    {
      image: { repository: 'mirror/dpd', tag: 'x', pullPolicy: 'Always' },
      podDisruptionBudget: { maxUnavailable: 2 },
      nodeSelector: { disk: 'ssd' },
    },
  ],
];

for (const [name, changed] of VARIANTS)
  test(`the chart ${name}: Kubernetes' own schemas take everything`, () => {
    const all = resources(changed);
    for (const resource of all) new KINDS[resource.kind](resource as never).validate();
    const expected = ['PodDisruptionBudget', 'Service', 'Service', 'StatefulSet'];
    if ((changed['networkPolicy'] as { enabled?: boolean })?.enabled !== false) expected.push('NetworkPolicy');
    if (changed['failover']) expected.push('Deployment');
    assert.deepEqual(all.map(({ kind }) => kind).sort(), expected.sort());
  });

test('a node in its pod: settings that there are, probes, a stop that has time to drain, no powers', () => {
  const all = resources();
  const { spec } = one<StatefulSet>(all, 'StatefulSet');
  const pod = spec!.template.spec!;
  const [node] = pod.containers;
  const known = new Set<string>(Object.values(NODE_SETTINGS).map(({ env }) => env));
  const variables = node!.env as readonly Variable[];
  for (const { name } of variables) assert(known.has(name) || name.startsWith('POD_'), `no such setting: ${name}`);
  for (const [setting, { env, parse: read }] of Object.entries(NODE_SETTINGS)) {
    const value = variables.find(({ name }) => name === env)?.value;
    if (value !== undefined && !value.includes('$(')) assert.doesNotThrow(() => read(value), setting);
  }
  // A variable can name only those before it.
  variables.forEach(({ value = '' }, n) => {
    for (const [, name] of value.matchAll(/\$\((\w+)\)/g))
      assert(
        variables.slice(0, n).some((earlier) => earlier.name === name),
        `${name} is not there yet`,
      );
  });
  const drainMs = Number(variables.find(({ name }) => name === 'DPD_DRAIN_MS')!.value);
  const before = node!.lifecycle!.preStop!.sleep!.seconds;
  assert(pod.terminationGracePeriodSeconds! * 1_000 >= drainMs + before * 1_000 + 5_000);
  assert.equal(node!.livenessProbe!.httpGet!.path, '/livez');
  assert.equal(node!.readinessProbe!.httpGet!.path, '/readyz');
  assert.equal(pod.securityContext!.runAsNonRoot, true);
  assert.deepEqual(node!.securityContext!.capabilities, { drop: ['ALL'] });
  assert.equal(node!.securityContext!.readOnlyRootFilesystem, true);
  // Modes of secrets, which the node refuses if others can read them.
  for (const { secret } of pod.volumes!) if (secret) assert.equal(secret.defaultMode! & 0o037, 0);
  const mounts = new Set(node!.volumeMounts!.map(({ name }) => name));
  assert.deepEqual(pod.volumes!.map(({ name }) => name).sort(), [...mounts].sort());
});

test('services, budget and network policy mean the nodes', () => {
  const all = resources();
  const { spec } = one<StatefulSet>(all, 'StatefulSet');
  const labels = spec!.template.metadata!.labels!;
  const meant = (selector: Record<string, string> | undefined) =>
    Object.entries(selector!).every(([label, value]) => labels[label] === value) && Object.keys(selector!).length === 3;
  assert(meant(one<Service>(all, 'Service', '-nodes').spec!.selector));
  assert(meant(one<Service>(all, 'Service', '-api').spec!.selector));
  assert(meant(one<PodDisruptionBudget>(all, 'PodDisruptionBudget').spec!.selector!.matchLabels));
  const policy = one<NetworkPolicy>(all, 'NetworkPolicy').spec!;
  assert(meant(policy.podSelector!.matchLabels));
  const [agents, monitoring] = policy.ingress!;
  assert.deepEqual(agents!.ports, [
    { protocol: 'TCP', port: 7600 },
    { protocol: 'UDP', port: 14_500, endPort: 14_515 },
  ]);
  assert.deepEqual(monitoring!.ports, [{ protocol: 'TCP', port: 9464 }]);
  assert.equal(spec!.serviceName, one<Service>(all, 'Service', '-nodes').metadata!.name);
});

test('a failover worker in its pod', () => {
  const all = resources({ failover: { replicas: 2 } });
  const pod = one<Deployment>(all, 'Deployment').spec!.template.spec!;
  const [worker] = pod.containers;
  const known = new Set<string>(Object.values(FAILOVER_WORKER_SETTINGS).map(({ env }) => env));
  for (const { name } of worker!.env!) assert(known.has(name), `no such setting: ${name}`);
  // Without a key of the cluster it does not start.
  const file = (worker!.env as readonly Variable[]).find(({ name }) => name === 'DPD_VAULT_KEY_FILE')!.value!;
  const mount = worker!.volumeMounts!.find(({ mountPath }) => file.startsWith(`${mountPath}/`))!;
  assert(pod.volumes!.some(({ name, secret }) => name === mount.name && secret));
  const [node] = one<StatefulSet>(all, 'StatefulSet').spec!.template.spec!.containers;
  assert.equal((node!.env as Variable[]).find(({ name }) => name === 'DPD_FAILOVER')!.value, 'elsewhere');
});

test('values that cannot be meant are refused by their schema', () => {
  for (const wrong of [
    { replicas: 0 },
    { ports: { ...(defaults['ports'] as object), api: 70_000 } },
    { replica: 3 },
    { drainMs: '15s' },
  ])
    assert.equal(schema({ ...defaults, ...wrong }), false, JSON.stringify(wrong));
});

test('the chart has the version of the package', () => {
  assert.deepEqual([chart.version, chart.appVersion], [VERSION, VERSION]);
});
