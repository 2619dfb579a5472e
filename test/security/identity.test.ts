import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { create, type DescMethod } from '@bufbuild/protobuf';
import { type ServiceError, status } from '@grpc/grpc-js';
import { ConnectShardRequestSchema, HeadendService } from '../../proto/gen/dpd/v1/headend_pb.js';
import { HoldDecision, OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { plaintext } from '../../services/api/grpc/credentials.ts';
import type { Method } from '../../services/node/access/methods.ts';
import { PKI_SKIP, Pki } from './pki.ts';
import { type SecureNode, startSecureNode } from './secure-node.ts';

const DOMAIN = 'lab.example';
const HEADEND = 'hub-1';
const DEADLINE_MS = 5_000;

/** All callers with rights, by the names in their certificates; and their entries in the access file. */
const CALLERS = {
  'its headend': `URI:spiffe://${DOMAIN}/headend/${HEADEND}`,
  'another headend': `URI:spiffe://${DOMAIN}/headend/hub-2`,
  'its watcher': `URI:spiffe://${DOMAIN}/watcher/frr-1`,
  'another watcher': `URI:spiffe://${DOMAIN}/watcher/frr-2`,
  'an operator who reads': `URI:spiffe://${DOMAIN}/operator/read/ann`,
  'an operator who acts': `URI:spiffe://${DOMAIN}/operator/act/bob`,
  'a node': `URI:spiffe://${DOMAIN}/node/node-2`,
  'a headend by DNS name': 'DNS:hub-1.example.org',
  'a DNS name that is not listed': 'DNS:hub-1.example.net',
  'a stranger’s domain': `URI:spiffe://other.example/headend/${HEADEND}`,
  'two URIs': `URI:spiffe://${DOMAIN}/headend/${HEADEND},URI:spiffe://${DOMAIN}/operator/act/bob`,
  'an operator by subject': '',
} as const;
type CallerName = keyof typeof CALLERS;
const ACCESS = {
  identities: {
    [`spiffe://${DOMAIN}/watcher/frr-1`]: { watch: ['hub-1'] },
    [`spiffe://${DOMAIN}/watcher/frr-2`]: { watch: ['hub-2', 'branch-*'] },
    'DNS:hub-1.example.org': { headend: ['hub-1'] },
    'O=NOC,CN=carol': { operator: 'act' },
  },
};

const OF_HEADEND: readonly CallerName[] = ['its headend', 'a headend by DNS name'];
const ACTING: readonly CallerName[] = ['an operator who acts', 'an operator by subject'];
const READING: readonly CallerName[] = ['an operator who reads', ...ACTING];
const CARRYING_OUT: readonly CallerName[] = [...OF_HEADEND, 'its watcher', ...ACTING];
const SEEING: readonly CallerName[] = [...CARRYING_OUT, 'an operator who reads'];

/** The callers that may call each method; no others may. */
const MAY: Readonly<Record<Method, readonly CallerName[]>> = {
  connectShard: OF_HEADEND,
  watchVerdicts: SEEING,
  acknowledgeVerdict: CARRYING_OUT,
  getPeer: SEEING,
  getPeerHistory: SEEING,
  watchPeer: SEEING,
  listPeers: SEEING,
  getCounters: SEEING,
  listHeldVerdicts: SEEING,
  listLeftOut: SEEING,
  listDeadLetters: SEEING,
  getClusterState: READING,
  setDraining: ACTING,
  clearSas: ACTING,
  settleHeldVerdicts: ACTING,
  settleDeadLetters: ACTING,
};

const REQUESTS: Partial<Record<Method, Record<string, unknown>>> = {
  acknowledgeVerdict: { headend: HEADEND, shard: 0, ack: { verdictId: '1-1', attempt: 1, outcome: 1 } },
  getPeer: { headend: HEADEND, peerId: 'spoke-1' },
  getPeerHistory: { headend: HEADEND, peerId: 'spoke-1' },
  watchPeer: { headend: HEADEND, peerId: 'spoke-1' },
  getClusterState: {},
  setDraining: { draining: false },
  settleHeldVerdicts: { headend: HEADEND, decision: HoldDecision.RELEASE },
};

/** Status of a call that is let go on for as long as it takes to see. */
function outcome(client: ApiClient, method: DescMethod, request: Record<string, unknown>): Promise<status> {
  const name = method.localName as Method;
  if (method.methodKind === 'unary')
    return client.unary(method, request, DEADLINE_MS).then(
      () => status.OK,
      (error: ServiceError) => error.code,
    );
  return new Promise((resolve) => {
    const stream = name === 'connectShard' ? client.duplex(method) : client.watch(method, request);
    stream.on('error', (error: ServiceError) => resolve(error.code));
    stream.on('data', () => {
      resolve(status.OK);
      stream.cancel();
    });
    if (stream instanceof Writable)
      stream.write(
        create(ConnectShardRequestSchema, {
          message: { case: 'hello', value: { headend: HEADEND, shard: 0, shards: 1 } },
        }),
      );
  });
}

describe('who may call what', { skip: PKI_SKIP, timeout: 60_000 }, () => {
  let pki: Pki;
  let secure: SecureNode;
  const clients = new Map<CallerName, ApiClient>();

  before(async () => {
    pki = new Pki();
    pki.certificate('node', `URI:spiffe://${DOMAIN}/node/node-1`);
    writeFileSync(pki.path('access.json'), JSON.stringify(ACCESS));
    secure = await startSecureNode(pki, '--access', pki.path('access.json'));
    Object.entries(CALLERS).forEach(([name, names], n) => {
      pki.certificate(`caller-${n}`, names, { subject: names === '' ? '/O=NOC/CN=carol' : '/CN=whoever' });
      // A caller of another domain would not talk to this node by himself.
      const client = new ApiClient({ ...secure.as(`caller-${n}`), trustDomain: DOMAIN });
      clients.set(name as CallerName, client);
    });
    // Registered, so that it can be watched.
    assert.equal(await outcome(clients.get('its headend')!, HeadendService.method.connectShard, {}), status.OK);
  });

  after(async () => {
    for (const client of clients.values()) client.close();
    await secure?.node.stop();
    pki?.remove();
  });

  for (const service of [HeadendService, VerdictService, OperatorService])
    for (const method of service.methods)
      for (const name of Object.keys(CALLERS) as CallerName[]) {
        const may = MAY[method.localName as Method].includes(name);
        test(`${method.name}: ${name} ${may ? 'may' : 'may not'}`, async () => {
          const request = REQUESTS[method.localName as Method] ?? { headend: HEADEND };
          const code = await outcome(clients.get(name)!, method, request);
          assert.equal(code !== status.PERMISSION_DENIED, may, `status ${status[code]}`);
        });
      }

  test('a refusal names what was asked and by whom, and nothing else', async () => {
    await assert.rejects(
      clients.get('another headend')!.unary(OperatorService.method.listPeers, { headend: HEADEND }, DEADLINE_MS),
      { details: `listPeers of headend "hub-1" is not allowed to spiffe://${DOMAIN}/headend/hub-2` },
    );
  });

  test('what names no headend means all of them, and is for operators alone', async () => {
    const { listHeldVerdicts } = OperatorService.method;
    assert.equal(await outcome(clients.get('its headend')!, listHeldVerdicts, {}), status.PERMISSION_DENIED);
    assert.equal(await outcome(clients.get('an operator who reads')!, listHeldVerdicts, {}), status.OK);
  });

  test('the access file is read again when it changes; one that is wrong changes nothing', async () => {
    const watcher = clients.get('another watcher')!;
    const code = () => outcome(watcher, OperatorService.method.listPeers, { headend: HEADEND });
    const until = async (wanted: status) => {
      const deadline = Date.now() + 10_000;
      while ((await code()) !== wanted) assert(Date.now() < deadline, `no ${status[wanted]} within 10 s`);
    };
    writeFileSync(
      pki.path('access.json'),
      JSON.stringify({
        identities: { ...ACCESS.identities, [`spiffe://${DOMAIN}/watcher/frr-2`]: { watch: ['hub-*'] } },
      }),
    );
    await until(status.OK);
    writeFileSync(pki.path('access.json'), '{ "identities": 7 }');
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    assert.equal(await code(), status.OK);
    writeFileSync(pki.path('access.json'), JSON.stringify(ACCESS));
    await until(status.PERMISSION_DENIED);
  });

  test('plaintext, and certificates of another CA, get no answer', async () => {
    pki.authority('stranger-ca');
    pki.certificate('stranger', `URI:spiffe://${DOMAIN}/operator/act/mallory`, { ca: 'stranger-ca' });
    for (const transport of [plaintext(secure.address), secure.as('stranger')]) {
      const client = new ApiClient(transport);
      await assert.rejects(client.unary(OperatorService.method.getClusterState, {}, 2_000), {
        code: status.UNAVAILABLE,
      });
      client.close();
    }
  });

  test('whoever has a trust domain gives nothing to a server that is no node of it', async () => {
    const client = new ApiClient({ ...secure.as('caller-0'), trustDomain: 'other.example' });
    const call = client.duplex(HeadendService.method.connectShard);
    const [error] = (await once(call, 'error')) as [ServiceError];
    assert.match(error.details, /spiffe:\/\/lab\.example\/node\/node-1 is no node of other\.example/);
    client.close();
  });

  test('what changes something is noted, with who, from where, what and the outcome', async () => {
    const act = clients.get('an operator who acts')!;
    const headend = clients.get('its headend')!;
    await act.unary(OperatorService.method.settleHeldVerdicts, { headend: HEADEND, decision: HoldDecision.DROP });
    await assert.rejects(headend.unary(OperatorService.method.setDraining, { draining: true }));
    const { connectRedis } = await import('../../services/store/redis/redis.ts');
    const redis = await connectRedis(secure.node.redisUrl);
    const entries = (await redis.xrevrange('dpd:audit', '+', '-', 'COUNT', 2)).map(([, fields]) =>
      JSON.parse(fields[1]!),
    );
    redis.disconnect();
    const [denied, done] = entries;
    assert.equal(done.action, 'settleHeldVerdicts');
    assert.equal(done.who, `spiffe://${DOMAIN}/operator/act/bob`);
    assert.match(done.from, /^127\.0\.0\.1:\d+$/);
    assert.match(done.asked, /"headend":"hub-1"/);
    assert.equal(done.outcome, 'done');
    assert.match(denied.outcome, /setDraining is not allowed to spiffe:\/\/lab\.example\/headend\/hub-1/);
  });
});
