import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type ClientHttp2Session, connect } from 'node:http2';
import { describe, type TestContext, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { type ClientDuplexStream, type ServiceError, status } from '@grpc/grpc-js';
import { ConnectShardRequestSchema, HeadendService } from '../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { VerdictService } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import { CALLER_LIMITS } from '../../services/node/access/admission.ts';
import { eventually } from '../eventually.ts';
import { PKI_SKIP, Pki } from './pki.ts';
import { type SecureNode, startSecureNode } from './secure-node.ts';

const CALLER_WATCHES = 64;

async function begin(t: TestContext): Promise<{ pki: Pki; secure: SecureNode; client: (file: string) => ApiClient }> {
  const pki = new Pki();
  pki.certificate('node', 'URI:spiffe://lab.example/node/node-1');
  for (const hub of ['hub-1', 'hub-2']) pki.certificate(hub, `URI:spiffe://lab.example/headend/${hub}`);
  for (const name of ['ann', 'bob']) pki.certificate(name, `URI:spiffe://lab.example/operator/read/${name}`);
  pki.revoke();
  const secure = await startSecureNode(pki, '--tls-crl', pki.path('crl.pem'));
  const clients: ApiClient[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    await secure.node.stop();
    pki.remove();
  });
  const client = (file: string) => {
    const made = new ApiClient(secure.as(file));
    clients.push(made);
    return made;
  };
  return { pki, secure, client };
}

/** A headend's stream; resolves with what ended it. */
function openStream(client: ApiClient, headend: string) {
  const stream = client.duplex(HeadendService.method.connectShard);
  const seen: string[] = [];
  stream.on('data', ({ message }: { message: { case: string } }) => seen.push(message.case));
  const ended = new Promise<ServiceError>((resolve) => stream.once('error', resolve));
  const hello = { headend, shard: 0, shards: 1 };
  stream.write(create(ConnectShardRequestSchema, { message: { case: 'hello', value: hello } }) as never);
  return { stream, seen, ended };
}

/** The connection of one who speaks HTTP/2 himself. */
async function rawSession(t: TestContext, pki: Pki, secure: SecureNode, file: string): Promise<ClientHttp2Session> {
  const session = connect(`https://${secure.address}`, {
    ca: readFileSync(pki.path('ca.pem')),
    cert: readFileSync(pki.path(`${file}.pem`)),
    key: readFileSync(pki.path(`${file}.key`)),
    checkServerIdentity: () => undefined,
    // What waits to be sent is in memory here.
    maxSessionMemory: 1_000,
  });
  t.after(() => session.destroy());
  session.on('error', () => {});
  await once(session, 'connect');
  return session;
}

/** Begins a call, and sends so much of a message of 15 MiB. Resolves with the status that it gets. */
function unfinished(session: ClientHttp2Session, path: string, bytes: number): Promise<number> {
  const call = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const head = Buffer.alloc(5);
  head.writeUInt32BE(15 * 1024 * 1024, 1);
  call.write(Buffer.concat([head, Buffer.alloc(bytes)]));
  const got = Promise.withResolvers<number>();
  const look = (headers: Record<string, unknown>) => {
    if (headers['grpc-status'] !== undefined) got.resolve(Number(headers['grpc-status']));
  };
  call.on('response', look);
  call.on('trailers', look);
  call.on('error', () => {});
  call.resume();
  return got.promise;
}

describe('certificates that count no more', { skip: PKI_SKIP, timeout: 60_000 }, () => {
  test('revoked: the open stream ends soon, the connection makes no other call, and others go on', async (t) => {
    const { pki, client } = await begin(t);
    const [bad, good] = [openStream(client('hub-1'), 'hub-1'), openStream(client('hub-2'), 'hub-2')];
    const ann = client('ann');
    const watch = ann.watch(VerdictService.method.watchVerdicts, { headend: 'hub-2' });
    const watchEnded = once(watch, 'error') as Promise<[ServiceError]>;
    await eventually('both are welcome', 10_000, () => [bad, good].every(({ seen }) => seen.includes('welcome')));
    pki.revoke('hub-1', 'ann');
    const { code, details } = await bad.ended;
    assert.deepEqual([code, details], [status.UNAUTHENTICATED, 'the certificate is revoked']);
    assert.equal((await watchEnded)[0].code, status.UNAUTHENTICATED);
    await assert.rejects(ann.unary(OperatorService.method.getClusterState, {}, 5_000), (error: ServiceError) =>
      [status.UNAUTHENTICATED, status.UNAVAILABLE].includes(error.code),
    );
    const before = good.seen.length;
    good.stream.write(
      create(ConnectShardRequestSchema, { message: { case: 'reconcile', value: { count: 0, hash: 0n } } }) as never,
    );
    await eventually('the other goes on', 5_000, () => good.seen.length > before);
    good.stream.cancel();
    await good.ended;
  });

  test('expired: the open stream ends by itself', async (t) => {
    const { pki, client } = await begin(t);
    pki.certificate('short', 'URI:spiffe://lab.example/headend/hub-1', { seconds: 5 });
    const short = openStream(client('short'), 'hub-1');
    await eventually('welcome', 5_000, () => short.seen.includes('welcome'));
    const { code, details } = await short.ended;
    assert.deepEqual([code, details], [status.UNAUTHENTICATED, 'the certificate has expired']);
  });
});

describe('one headend leaves something for others', { skip: PKI_SKIP, timeout: 120_000 }, () => {
  test('streams', async (t) => {
    const { client } = await begin(t);
    const greedy = client('hub-1');
    const streams: ClientDuplexStream<never, never>[] = [];
    const ends: ServiceError[] = [];
    for (let n = 0; n < CALLER_LIMITS.streams + 10; n++) {
      const stream = greedy.duplex(HeadendService.method.connectShard) as never as ClientDuplexStream<never, never>;
      stream.on('error', (error) => ends.push(error as ServiceError));
      stream.on('data', () => {});
      streams.push(stream);
    }
    await eventually('those beyond are refused', 8_000, () => ends.length >= 10);
    assert(ends.slice(0, 10).every(({ code }) => code === status.RESOURCE_EXHAUSTED));
    assert.match(ends[0]!.details, /headend\/hub-1 has 512 streams here already/);
    const other = openStream(client('hub-2'), 'hub-2');
    await eventually('another headend is welcome', 5_000, () => other.seen.includes('welcome'));
    for (const stream of [...streams, other.stream]) stream.cancel();
    await eventually('all have ended', 10_000, () => ends.length === streams.length);
    const again = openStream(greedy, 'hub-1');
    await eventually('and so is the greedy one, in the end', 10_000, () => again.seen.includes('welcome'));
    again.stream.cancel();
    await again.ended;
  });

  test('watches', async (t) => {
    const { client } = await begin(t);
    const hub = openStream(client('hub-1'), 'hub-1');
    await eventually('registered', 10_000, () => hub.seen.includes('welcome'));
    const ann = client('ann');
    let begun = 0;
    const watches = Array.from({ length: CALLER_WATCHES }, () => {
      const call = ann.watch(VerdictService.method.watchVerdicts, { headend: 'hub-1' });
      call.once('data', () => begun++);
      call.on('error', () => {});
      return call;
    });
    await eventually('all of one caller’s watches', 20_000, () => begun === CALLER_WATCHES);
    const beyond = ann.watch(VerdictService.method.watchVerdicts, { headend: 'hub-1' });
    const [error] = (await once(beyond, 'error')) as [ServiceError];
    assert.equal(error.code, status.RESOURCE_EXHAUSTED);
    const other = client('bob').watch(VerdictService.method.watchVerdicts, { headend: 'hub-1' });
    other.on('error', () => {});
    await once(other, 'data');
    for (const call of [...watches, other, hub.stream]) call.cancel();
    await hub.ended;
  });

  test('requests that never end: of calls, by size and time; of streams, by the bytes of all', async (t) => {
    const { pki, secure, client } = await begin(t);
    const session = await rawSession(t, pki, secure, 'hub-1');
    const unary = '/dpd.v1.OperatorService/ListPeers';
    assert.equal(await unfinished(session, unary, 2 * 1024 * 1024), status.RESOURCE_EXHAUSTED);
    const began = performance.now();
    assert.equal(await unfinished(session, unary, 10), status.DEADLINE_EXCEEDED);
    assert(performance.now() - began < 15_000);
    const stream = '/dpd.v1.HeadendService/ConnectShard';
    const some = Array.from({ length: 8 }, () => unfinished(session, stream, 12 * 1024 * 1024));
    assert.equal(await Promise.race(some), status.RESOURCE_EXHAUSTED);
    await client('ann').unary(OperatorService.method.getClusterState, {}, 5_000);
  });

  test('calls at once', async (t) => {
    const { pki, secure, client } = await begin(t);
    const session = await rawSession(t, pki, secure, 'hub-1');
    const ends: number[] = [];
    for (let n = 0; n < CALLER_LIMITS.calls + 5; n++)
      void unfinished(session, '/dpd.v1.OperatorService/ListPeers', 0).then((code) => ends.push(code));
    await eventually('those beyond are refused', 8_000, () => ends.length >= 5);
    assert(ends.slice(0, 5).every((code) => code === status.RESOURCE_EXHAUSTED));
    await client('hub-2')
      .unary(OperatorService.method.listPeers, { headend: 'hub-2' }, 5_000)
      .catch((error: ServiceError) => {
        assert.equal(error.code, status.NOT_FOUND);
      });
  });
});
