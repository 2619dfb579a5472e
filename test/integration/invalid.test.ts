import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { type ServiceError, status } from '@grpc/grpc-js';
import {
  ConnectShardRequestSchema,
  type ConnectShardResponse,
  HeadendService,
} from '../../proto/gen/dpd/v1/headend_pb.js';
import { OperatorService } from '../../proto/gen/dpd/v1/operator_pb.js';
import { Mode, Outcome, type SaSchema } from '../../proto/gen/dpd/v1/types_pb.js';
import { VerdictService } from '../../proto/gen/dpd/v1/verdicts_pb.js';
import { BadRequestSchema, StatusSchema } from '../../proto/gen/google/rpc/error_details_pb.js';
import { HEADEND, Rig } from './rig.ts';

type Message = Exclude<MessageInitShape<typeof ConnectShardRequestSchema>['message'], undefined>;
type SaInit = MessageInitShape<typeof SaSchema>;

let rig: Rig;
before(async () => {
  // The agent's headend has two SAs, one less than a headend may.
  rig = await Rig.start({ spokes: 2, nodeEnv: { DPD_MAX_PEERS: '4', DPD_HEADEND_PEERS: '3' } });
  await rig.startAgent();
});
after(() => rig.stop());

/** The fields that an INVALID_ARGUMENT blames, from its google.rpc details. */
function blamed(error: ServiceError): { field: string; description: string }[] {
  assert.equal(error.code, status.INVALID_ARGUMENT, `${status[error.code]}: ${error.details}`);
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  assert(bytes, 'no google.rpc details');
  const { details } = fromBinary(StatusSchema, bytes as Buffer);
  return anyUnpack(details[0]!, BadRequestSchema)!.fieldViolations;
}

/** Sends messages on a stream of its own and returns the error it ends with. */
async function streamError(...messages: Message[]): Promise<ServiceError> {
  const stream = rig.client.duplex(HeadendService.method.connectShard);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the stream did not end')), 5_000);
    stream.on('data', (_: ConnectShardResponse) => {});
    stream.on('error', (error: ServiceError) => {
      clearTimeout(timer);
      resolve(error);
    });
    for (const message of messages) stream.write(create(ConnectShardRequestSchema, { message }));
  });
}

const hello: Message = { case: 'hello', value: { headend: 'other-hub', shard: 0, shards: 1 } };

/** A good SA with something wrong. */
const sa = (change: Partial<SaInit>): SaInit => {
  // Without its type name it is an initializer, whose parts are converted too.
  const { $typeName: _, ...init } = rig.sa(0);
  return { ...init, ...change } as SaInit;
};
const upsert = (change: Partial<SaInit>): Message => ({ case: 'upsert', value: { batchId: 1n, sas: [sa(change)] } });
const policy = (change: Record<string, number | number[]>): Partial<SaInit> => ({
  policy: { mode: Mode.ON_IDLE, intervalMs: 10_000, retryIntervalMs: 1_000, retries: 3, ...change },
});

describe('ConnectShard', () => {
  type Case = [name: string, field: string, description: RegExp, messages: () => Message[]];
  const cases: Case[] = [
    [
      'headend name',
      'hello.headend',
      /"no\/slash"/,
      () => [{ case: 'hello', value: { headend: 'no/slash', shards: 1 } }],
    ],
    [
      'number of shards',
      'hello.shards',
      /3 is not a power of two from 1 to 256/,
      () => [{ case: 'hello', value: { headend: 'h', shards: 3 } }],
    ],
    [
      'shard',
      'hello.shard',
      /4 is not within 0 to 3/,
      () => [{ case: 'hello', value: { headend: 'h', shard: 4, shards: 4 } }],
    ],
    ['nothing set', 'message', /none/, () => [hello, { case: undefined }]],
    [
      'batch size',
      'upsert.sas',
      /1001 items, at most 1000/,
      () => [hello, { case: 'upsert', value: { sas: new Array(1_001).fill({}) } }],
    ],
    ['SA id', 'upsert.sas[0].id', /missing/, () => [hello, upsert({ id: undefined as never })]],
    [
      'SPI of zero',
      'upsert.sas[0].id',
      /SPI of 0/,
      () => [hello, upsert({ id: { initiatorSpi: 0n, responderSpi: 1n } })],
    ],
    [
      'twice the same SA',
      'upsert.sas[1].id',
      /same SA/,
      () => [hello, { case: 'upsert', value: { sas: [sa({}), sa({})] } }],
    ],
    ['peer id', 'upsert.sas[0].peer_id', /0 bytes, must be 1 to 128/, () => [hello, upsert({ peerId: '' })]],
    ['IKE version', 'upsert.sas[0].ike_version', /3 is not supported/, () => [hello, upsert({ ikeVersion: 3 })]],
    [
      'keys of IKEv2 for IKEv1',
      'upsert.sas[0].keys.encryption',
      /encryption 12 with prf 0/,
      () => [hello, upsert({ ikeVersion: 1 })],
    ],
    [
      'DPD support of IKEv2',
      'upsert.sas[0].dpd_support',
      /only for ike_version 1/,
      () => [hello, upsert({ dpdSupport: 2 })],
    ],
    ['no endpoint', 'upsert.sas[0].endpoints', /0 items, must be 1 to 16/, () => [hello, upsert({ endpoints: [] })]],
    [
      'endpoint address',
      'upsert.sas[0].endpoints[0].address',
      /"fe80::1%eth0" is not an IP address/,
      () => [hello, upsert({ endpoints: [{ address: 'fe80::1%eth0' }] })],
    ],
    [
      'endpoint port',
      'upsert.sas[0].endpoints[0].port',
      /70000/,
      () => [hello, upsert({ endpoints: [{ address: '127.0.0.1', port: 70_000 }] })],
    ],
    ...['255.255.255.255', '224.0.0.1', '240.0.0.1', '0.0.0.0', '::', 'ff02::1', '::ffff:255.255.255.255'].map(
      (address): Case => [
        `endpoint that is nobody: ${address}`,
        'upsert.sas[0].endpoints[0].address',
        /is not the address of one host/,
        () => [hello, upsert({ endpoints: [{ address }] })],
      ],
    ),
    [
      'message id far beyond any',
      'upsert.sas[0].next_message_id',
      /4294967295 is not within 0 to 536870912/,
      () => [hello, upsert({ nextMessageId: 0xffffffff })],
    ],
    [
      "message id of the headend's daemon",
      'upsert.sas[0].next_message_id',
      /1073741824 is not within/,
      () => [hello, upsert({ nextMessageId: 2 ** 30 })],
    ],
    [
      'active endpoint',
      'upsert.sas[0].active_endpoint',
      /2 is not within 0 to 1/,
      () => [hello, upsert({ activeEndpoint: 2 })],
    ],
    ['no policy', 'upsert.sas[0].policy.mode', /missing/, () => [hello, upsert({ policy: undefined as never })]],
    ['mode', 'upsert.sas[0].policy.mode', /99/, () => [hello, upsert(policy({ mode: 99 }))]],
    ['action', 'upsert.sas[0].policy.action', /99/, () => [hello, upsert(policy({ action: 99 }))]],
    [
      'interval',
      'upsert.sas[0].policy.interval_ms',
      /199 is not within 200 to 3600000 ms/,
      () => [hello, upsert(policy({ intervalMs: 199 }))],
    ],
    [
      'retry interval',
      'upsert.sas[0].policy.retry_interval_ms',
      /60001/,
      () => [hello, upsert(policy({ retryIntervalMs: 60_001 }))],
    ],
    [
      'retries',
      'upsert.sas[0].policy.retries',
      /0 is not within 1 to 20/,
      () => [hello, upsert(policy({ retries: 0 }))],
    ],
    [
      'list of waits beside retries',
      'upsert.sas[0].policy.retries',
      /3 beside a list of waits/,
      () => [hello, upsert(policy({ retryIntervalMs: 0, retryScheduleMs: [1_000] }))],
    ],
    [
      'a listed wait',
      'upsert.sas[0].policy.retry_schedule_ms[1]',
      /300001 is not within 200 to 300000 ms/,
      () => [hello, upsert(policy({ retryIntervalMs: 0, retries: 0, retryScheduleMs: [200, 300_001] }))],
    ],
    [
      'preset',
      'upsert.sas[0].policy.preset',
      /"vendor" is not known, only cisco-ios-periodic/,
      () => [hello, upsert({ policy: { preset: 'vendor' } })],
    ],
    ['jitter', 'upsert.sas[0].policy.jitter_percent', /51/, () => [hello, upsert(policy({ jitterPercent: 51 }))]],
    [
      'cipher',
      'upsert.sas[0].keys.encryption',
      /encryption 20 .* 7 bytes/,
      () => [hello, upsert({ keys: { encryption: 20, skEi: new Uint8Array(7) } })],
    ],
    [
      'key length',
      'upsert.sas[0].keys.sk_er',
      /1 bytes, must be 36/,
      () => [hello, upsert({ keys: { encryption: 20, skEi: new Uint8Array(36), skEr: new Uint8Array(1) } })],
    ],
    [
      'child SPIs',
      'upsert.sas[0].child_spis',
      /65 items, at most 64/,
      () => [hello, upsert({ childSpis: new Array(65).fill(1) })],
    ],
    ['local port', 'upsert.sas[0].local_port', /4501 is not 500 or 4500/, () => [hello, upsert({ localPort: 4_501 })]],
    ['local address', 'upsert.sas[0].local_address', /"x"/, () => [hello, upsert({ localAddress: 'x' })]],
    [
      'removal of SPI zero',
      'remove.sas[0].',
      /SPI of 0/,
      () => [hello, { case: 'remove', value: { sas: [{ initiatorSpi: 0n, responderSpi: 0n }] } }],
    ],
    [
      'removal size',
      'remove.sas',
      /10001 items/,
      () => [hello, { case: 'remove', value: { sas: new Array(10_001).fill({}) } }],
    ],
    [
      'evidence size',
      'evidence.heard_handles',
      /100001 items/,
      () => [hello, { case: 'evidence', value: { heardHandles: new Array(100_001).fill(1) } }],
    ],
    ['evidence age', 'evidence.age_ms', /3600001/, () => [hello, { case: 'evidence', value: { ageMs: 3_600_001 } }]],
    [
      'delegated results',
      'delegated_results.probe_ids',
      /0 items/,
      () => [hello, { case: 'delegatedResults', value: { handles: [1] } }],
    ],
    [
      'acks',
      'verdict_acks.acks',
      /1001 items/,
      () => [hello, { case: 'verdictAcks', value: { acks: new Array(1_001).fill({}) } }],
    ],
    [
      'ack outcome',
      'verdict_acks.acks[0].outcome',
      /0 is not a known outcome/,
      () => [hello, { case: 'verdictAcks', value: { acks: [{ verdictId: 'x' }] } }],
    ],
    [
      'verdicts under way',
      'under_way.verdict_ids',
      /1001 items/,
      () => [hello, { case: 'underWay', value: { verdictIds: new Array(1_001).fill('x'), attempts: [] } }],
    ],
    [
      'attempts under way',
      'under_way.attempts',
      /0 items for 1 verdict_ids/,
      () => [hello, { case: 'underWay', value: { verdictIds: ['x'] } }],
    ],
    [
      'canary address',
      'path.canary_address',
      /"hub"/,
      () => [hello, { case: 'path', value: { ready: true, canaryAddress: 'hub', canaryPort: 4500 } }],
    ],
    [
      'canary to everybody',
      'path.ways[0].canary_address',
      /is not the address of one host/,
      () => [
        hello,
        { case: 'path', value: { ready: true, ways: [{ canaryAddress: '255.255.255.255', canaryPort: 4_500 }] } },
      ],
    ],
    [
      'canary port',
      'path.canary_port',
      /0 is not within 1 to 65535/,
      () => [hello, { case: 'path', value: { ready: true, canaryAddress: '127.0.0.1' } }],
    ],
  ];
  for (const [name, field, description, messages] of cases)
    test(name, async () => {
      const violations = blamed(await streamError(...messages()));
      const found = violations.find((violation) => violation.field === field);
      assert(found, `${field} is not among ${violations.map((violation) => violation.field).join(', ')}`);
      assert.match(found.description, description);
    });

  test('a shard of another SPI', async () => {
    const odd = rig.sa(0).id!.responderSpi | 1n;
    const violations = blamed(
      await streamError(
        { case: 'hello', value: { headend: 'two', shard: 0, shards: 2 } },
        upsert({ id: { initiatorSpi: 1n, responderSpi: odd } }),
      ),
    );
    assert.match(violations[0]!.description, /is not of shard 0 of 2/);
  });

  test('before hello, hello twice, and another number of shards', async () => {
    for (const messages of [
      [upsert({})],
      [hello, hello],
      [{ case: 'hello', value: { headend: HEADEND, shard: 0, shards: 4 } }],
    ] as Message[][])
      assert.equal((await streamError(...messages)).code, status.FAILED_PRECONDITION);
  });

  test('more SAs than a headend, or all of them, may have on a node', async () => {
    const several = (count: number): Message => {
      const ids = Array.from({ length: count }, (_, n) => ({ initiatorSpi: BigInt(n + 1), responderSpi: 2n }));
      return { case: 'upsert', value: { batchId: 1n, sas: ids.map((id) => sa({ id })) } };
    };
    for (const [count, limit] of [
      [4, /4 more would exceed the node's limit of 4 SAs/],
      [3, /3 more would exceed the node's limit of 4 SAs/],
    ] as const) {
      const error = await streamError(hello, several(count));
      assert.equal(error.code, status.RESOURCE_EXHAUSTED);
      assert.match(error.details, limit);
    }
    const own: Message = { case: 'hello', value: { headend: HEADEND, shard: 0, shards: 2 } };
    const error = await streamError(own, several(2));
    assert.equal(error.code, status.RESOURCE_EXHAUSTED);
    assert.match(error.details, /2 more would exceed the node's limit of 3 SAs of one headend/);
  });

  test('none of it has changed anything', async () => {
    const { shards } = await rig.client.unary(OperatorService.method.getCounters, { headend: 'other-hub' });
    assert.equal(shards[0]!.peers, 0);
    assert.equal(await rig.count('peers'), 2);
  });
});

describe('unary calls', () => {
  const rejects = async (call: Promise<unknown>, field: string, description: RegExp) => {
    const error = await call.then(
      () => assert.fail('accepted'),
      (reason: ServiceError) => reason,
    );
    const violation = blamed(error).find((found) => found.field === field);
    assert(violation, `${field} is not blamed: ${error.details}`);
    assert.match(violation.description, description);
  };

  test('GetPeer', async () => {
    const { getPeer } = OperatorService.method;
    await rejects(rig.client.unary(getPeer, { headend: '', peerId: 'x' }), 'headend', /""/);
    await rejects(rig.client.unary(getPeer, { headend: 'h', peerId: '' }), 'peer_id', /0 bytes/);
    await assert.rejects(rig.client.unary(getPeer, { headend: HEADEND, peerId: 'nobody' }), { code: status.NOT_FOUND });
  });
  test('ListPeers', async () => {
    const { listPeers } = OperatorService.method;
    await rejects(
      rig.client.unary(listPeers, { headend: 'h', pageSize: 1_001 }),
      'page_size',
      /1001 is not within 0 to 1000/,
    );
    await rejects(rig.client.unary(listPeers, { headend: 'h', pageToken: 'x' }), 'page_token', /"x"/);
  });
  test('GetCounters', () =>
    rejects(rig.client.unary(OperatorService.method.getCounters, { headend: '!' }), 'headend', /"!"/));
  test('AcknowledgeVerdict', async () => {
    const { acknowledgeVerdict } = VerdictService.method;
    const ack = { verdictId: 'x', outcome: Outcome.CLEARED };
    await rejects(rig.client.unary(acknowledgeVerdict, { headend: '', ack }), 'headend', /""/);
    await rejects(rig.client.unary(acknowledgeVerdict, { headend: 'h', shard: 256, ack }), 'shard', /256/);
    await rejects(rig.client.unary(acknowledgeVerdict, { headend: 'h' }), 'ack.verdict_id', /missing/);
    await rejects(
      rig.client.unary(acknowledgeVerdict, { headend: 'h', ack: { ...ack, detail: 'x'.repeat(513) } }),
      'ack.detail',
      /513 bytes/,
    );
  });
  test('WatchVerdicts', async () => {
    const watch = (request: { headend: string; resumeToken?: string }) =>
      new Promise((resolve, reject) => {
        const stream = rig.client.watch(VerdictService.method.watchVerdicts, request);
        stream.on('data', resolve);
        stream.on('error', reject);
      });
    await rejects(watch({ headend: '?' }), 'headend', /"\?"/);
    await rejects(watch({ headend: HEADEND, resumeToken: 'x' }), 'resume_token', /"x"/);
    await assert.rejects(watch({ headend: 'never-seen' }), { code: status.NOT_FOUND });
  });
});

test('a headend that has said all it had to say gets its status', async () => {
  const stream = rig.client.duplex(HeadendService.method.connectShard);
  const ended = Promise.withResolvers<number>();
  stream.on('status', ({ code }) => ended.resolve(code));
  stream.on('error', () => {});
  stream.on('data', ({ message }: ConnectShardResponse) => {
    if (message.case === 'inventory' && message.value.complete) stream.end();
  });
  stream.write(
    create(ConnectShardRequestSchema, { message: { case: 'hello', value: { headend: 'ends', shard: 0, shards: 1 } } }),
  );
  const timer = setTimeout(() => ended.reject(new Error('no status within 5 s')), 5_000);
  assert.equal(await ended.promise, status.OK);
  clearTimeout(timer);
});
