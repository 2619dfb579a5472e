/** `dpdctl peers` over a million peers: it writes at once, and keeps few of them in memory. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { type Server, ServerInterceptingCall, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { npmScript } from '../../loadtest/npm-script.ts';
import {
  GetClusterStateResponseSchema,
  type ListPeersRequest,
  type ListPeersResponse,
  ListPeersResponseSchema,
  OperatorService,
  PeerState,
} from '../../proto/gen/dpd/v1/operator_pb.js';
import { Action, Mode } from '../../proto/gen/dpd/v1/types_pb.js';
import { startServer } from '../../services/api/grpc/server.ts';
import { serviceDefinition } from '../../services/api/grpc/service.ts';

const PEERS = 1_000_000;
const MOST_BYTES = 200 * 1024 * 1024;
const FIRST_MS = 10_000;
const DPDCTL = npmScript('dpdctl');
const POLICY = { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 2_000, retries: 5, action: Action.CLEAR };

test('a million peers stream through dpdctl in under 200 MB', { timeout: 600_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dpdctl-'));
  const address = `unix:${join(directory, 'api.sock')}`;
  const server = await startServer(
    address,
    undefined,
    (_method, call) => new ServerInterceptingCall(call),
    serve,
    () => {},
  );
  t.after(async () => {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  const begun = Date.now();
  const child = spawn(process.execPath, [...DPDCTL.args, 'peers', '--json', '--address', address], {
    env: { ...process.env, ...DPDCTL.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let lines = 0;
  let firstMs = 0;
  let most = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    firstMs ||= Date.now() - begun;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++;
    const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
    most = Math.max(most, Number(peak?.[1] ?? 0) * 1024);
  });
  const [code] = (await once(child, 'close')) as [number];
  t.diagnostic(
    `first row after ${firstMs} ms, all after ${Date.now() - begun} ms, at most ${Math.round(most / 2 ** 20)} MiB`,
  );
  assert.equal(code, 0);
  assert.equal(lines, PEERS);
  assert.ok(firstMs < FIRST_MS, `first row after ${firstMs} ms`);
  assert.ok(most > 0 && most < MOST_BYTES, `${most} bytes`);
});

/** The two methods that `dpdctl peers` calls, for a node that hosts everything. */
function serve(server: Server): void {
  const { getClusterState, listPeers } = serviceDefinition(OperatorService);
  server.addService(
    { getClusterState: getClusterState!, listPeers: listPeers! },
    {
      getClusterState: (_call: unknown, reply: sendUnaryData<unknown>) =>
        reply(
          null,
          create(GetClusterStateResponseSchema, {
            node: 'n',
            redisConnected: true,
            members: [{ id: 'n' }],
            shards: [{ headend: 'hub', shards: 1, node: 'n', leaseValid: true }],
          }),
        ),
      listPeers: (
        call: ServerUnaryCall<ListPeersRequest, ListPeersResponse>,
        reply: sendUnaryData<ListPeersResponse>,
      ) => reply(null, page(Number(call.request.pageToken || '0'), call.request.pageSize)),
    },
  );
}

function page(from: number, size: number): ListPeersResponse {
  const to = Math.min(PEERS, from + size);
  return create(ListPeersResponseSchema, {
    nextPageToken: to < PEERS ? String(to) : '',
    peers: Array.from({ length: to - from }, (_, n) => ({
      headend: 'hub',
      sa: {
        id: { initiatorSpi: BigInt(from + n + 1), responderSpi: 1n },
        peerId: `branch-${from + n}.example.org`,
        endpoints: [{ address: '192.0.2.1' }, { address: '198.51.100.1' }],
        policy: POLICY,
      },
      state: PeerState.ALIVE,
      lastEvidenceAgeMs: 1_000n,
      roundTrip: { smoothedUs: 12_000, variationUs: 800 },
      recentProbes: 64,
    })),
  });
}
