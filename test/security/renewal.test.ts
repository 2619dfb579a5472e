import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import {
  ConnectShardRequestSchema,
  type ConnectShardResponse,
  HeadendService,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { ApiClient } from '../../services/api/grpc/client.ts';
import type { TransportSettings } from '../../services/api/grpc/credentials.ts';
import { eventually } from '../eventually.ts';
import { PKI_SKIP, Pki } from './pki.ts';
import { type SecureNode, startSecureNode } from './secure-node.ts';

const OPERATOR = 'URI:spiffe://lab.example/operator/read/ann';

async function begin(t: TestContext, ...flags: string[]): Promise<{ pki: Pki; secure: SecureNode }> {
  const pki = new Pki();
  t.after(() => pki.remove());
  pki.certificate('node', 'URI:spiffe://lab.example/node/node-1');
  pki.certificate('hub', 'URI:spiffe://lab.example/headend/hub-1');
  pki.certificate('ann', OPERATOR);
  pki.revoke();
  const secure = await startSecureNode(pki, ...flags.map((flag) => (flag === 'crl.pem' ? pki.path(flag) : flag)));
  t.after(() => secure.node.stop());
  return { pki, secure };
}

/** Whether a new connection is answered. */
async function isAnswered(transport: TransportSettings): Promise<boolean> {
  const client = new ApiClient(transport);
  try {
    await client.unary(OperatorService.method.getClusterState, {}, 2_000);
    return true;
  } catch (error) {
    // The handshake refuses, or, if it has not read the new list of revocations yet, the door behind it.
    const { code } = error as { code?: number };
    assert(code === status.UNAVAILABLE || code === status.UNAUTHENTICATED, `code ${code}`);
    return false;
  } finally {
    client.close();
  }
}

/** Serial number of the certificate that the node shows to a new connection. */
function serialOf(pki: Pki, address: string, version: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3'): Promise<string> {
  const { hostname: host, port } = new URL(`tls://${address}`);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(port),
      ca: readFileSync(pki.path('ca.pem')),
      cert: readFileSync(pki.path('ann.pem')),
      key: readFileSync(pki.path('ann.key')),
      checkServerIdentity: () => undefined,
      maxVersion: version,
    });
    socket.on('error', reject);
    socket.on('secureConnect', () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
  });
}

describe('certificates that change', { skip: PKI_SKIP, timeout: 60_000 }, () => {
  test('a node’s new certificate is shown to new connections, and no stream ends', async (t) => {
    const { pki, secure } = await begin(t);
    const client = new ApiClient(secure.as('hub'));
    t.after(() => client.close());
    const stream = client.duplex(HeadendService.method.connectShard);
    const seen: string[] = [];
    stream.on('data', ({ message }: ConnectShardResponse) => seen.push(message.case!));
    stream.on('error', (error) => seen.push(String(error)));
    const say = (message: Parameters<typeof create<typeof ConnectShardRequestSchema>>[1]) =>
      stream.write(create(ConnectShardRequestSchema, message));
    say({ message: { case: 'hello', value: { headend: 'hub-1', shard: 0, shards: 1 } } });
    await eventually('welcome', 10_000, () => seen.includes('welcome'));

    const before = await serialOf(pki, secure.address);
    pki.certificate('node', 'URI:spiffe://lab.example/node/node-1');
    await eventually('the new certificate', 10_000, async () => (await serialOf(pki, secure.address)) !== before);
    say({ message: { case: 'reconcile', value: { count: 0n, hash: 0n } } } as never);
    await eventually('the stream goes on', 5_000, () => seen.includes('reconciled'));
    stream.cancel();
  });

  test('half of a new pair changes nothing', async (t) => {
    const { pki, secure } = await begin(t);
    const before = await serialOf(pki, secure.address);
    pki.certificate('other', 'URI:spiffe://lab.example/node/node-1');
    const { copyFileSync } = await import('node:fs');
    copyFileSync(pki.path('other.pem'), pki.path('node.pem'));
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    assert.equal(await serialOf(pki, secure.address), before);
    copyFileSync(pki.path('other.key'), pki.path('node.key'));
    await eventually('the whole pair', 10_000, async () => (await serialOf(pki, secure.address)) !== before);
  });

  test('a client’s new certificate is used for its next connection', async (t) => {
    const { pki, secure } = await begin(t);
    const client = new ApiClient(secure.as('ann'));
    t.after(() => client.close());
    pki.certificate('ann', 'URI:spiffe://lab.example/headend/hub-1');
    await assert.rejects(client.unary(OperatorService.method.getClusterState, {}, 5_000), {
      details: 'getClusterState is not allowed to spiffe://lab.example/headend/hub-1',
    });
  });

  test('a revoked certificate gets no new connection; others do', async (t) => {
    const { pki, secure } = await begin(t, '--tls-crl', 'crl.pem');
    pki.certificate('eve', OPERATOR);
    assert.equal(await isAnswered(secure.as('eve')), true);
    pki.revoke('eve');
    await eventually('it is refused', 10_000, async () => !(await isAnswered(secure.as('eve'))));
    assert.equal(await isAnswered(secure.as('ann')), true);
  });

  test('TLS 1.2 only by asking', async (t) => {
    const { pki, secure } = await begin(t);
    await assert.rejects(serialOf(pki, secure.address, 'TLSv1.2'), /alert protocol version/);
    const lenient = await startSecureNode(pki, '--tls-min', '1.2', '--data-dir', pki.path('data-2'));
    t.after(() => lenient.node.stop());
    assert.match(await serialOf(pki, lenient.address, 'TLSv1.2'), /^[0-9A-F]+$/);
  });
});
