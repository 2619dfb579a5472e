import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Action, Mode } from '../../../../proto/gen/dpd/v1/types_pb.js';
import { PeersFile } from '../../../../services/agent/headend/peers-file.ts';
import { membersOf, policyOf, readMembers } from '../../../../services/api/policy/layers.ts';

const endpoint = (address: string) => ({ address, connection: 'site1', child: 'net' });
const parse = (peer: object) => PeersFile.parse({ peers: { spoke1: peer } } as never, 'test').get('spoke1');

test('a peer has endpoints of either family, and the site that it is given', () => {
  const peer = parse({ endpoints: [endpoint('192.0.2.10'), endpoint('2001:db8::10')], site: 'west' });
  assert.deepEqual([peer.endpoints.length, peer.site], [2, 'west']);
  assert.equal(parse({}).site, undefined);
});

test('what is wrong is named', () => {
  assert.throws(() => parse({ endpoints: [endpoint('hub.example')] }), /spoke1\.endpoints\[0\]: needs an address/);
  for (const site of ['x'.repeat(65), 7])
    assert.throws(() => parse({ site }), /spoke1\.site: must be a text of at most 64/);
});

test('what a file cannot say is refused with its place', () => {
  const peers = (peer: unknown) => ({ peers: { spoke1: peer } });
  const refused: [raw: unknown, why: RegExp][] = [
    [null, /peers test: null is not an object/],
    [[], /peers test: \[\] is not an object/],
    [{ peer: {} }, /peers test\.peer: is not known, only policy, labels, peers, observe/],
    [{ peers: [] }, /peers test: peers: \[\] is not an object/],
    [{ policy: [] }, /peers test: policy: \[\] is not an object/],
    [{ policy: { interval: 10 } }, /policy\.interval: is not known, only mode, action, intervalMs/],
    [{ policy: { mode: 'toString' } }, /policy\.mode=toString: must be PERIODIC/],
    [{ policy: { mode: 'UNSPECIFIED' } }, /policy\.mode=UNSPECIFIED/],
    [{ policy: { mode: '2' } }, /policy\.mode=2/],
    [{ policy: { mode: 2 } }, /policy\.mode=2/],
    [
      { policy: { action: 'constructor' } },
      /policy\.action=constructor: must be CLEAR, FAILOVER, TRAP, RESTART or NOTIFY/,
    ],
    [{ policy: { intervalMs: '10000' } }, /policy\.intervalMs=10000: must be a whole number from 200/],
    [{ policy: { intervalMs: 199 } }, /policy\.intervalMs=199/],
    [{ policy: { retryScheduleMs: 3_000 } }, /policy\.retryScheduleMs=3000: must be a list of 1 to 20/],
    [{ policy: { retryScheduleMs: [] } }, /policy\.retryScheduleMs=\[\]: must be a list of 1 to 20/],
    [{ policy: { retryScheduleMs: [3_000, '6'] } }, /policy\.retryScheduleMs\[1\]=6: must be a whole number from 200/],
    [{ policy: { retryScheduleMs: [3_000], retries: 2 } }, /policy\.retries: 2 beside a list of waits, .* must be 0/],
    [{ policy: { retryFactorPercent: 1.8 } }, /policy\.retryFactorPercent=1\.8: must be a whole number from 100/],
    [
      { policy: { retryFactorPercent: 900, retries: 6 } },
      /policy\.retryFactorPercent: 900 makes the last wait 118098000 ms/,
    ],
    [{ policy: { retries: 21 } }, /policy\.retries=21/],
    [{ policy: { unprovenMs: 1e15 } }, /policy\.unprovenMs=1000000000000000/],
    [peers([]), /test: spoke1: \[\] is not an object/],
    [peers({ policy: [1] }), /spoke1\.policy: \[1\] is not an object/],
    [peers({ endpoint: [] }), /spoke1\.endpoint: is not known/],
    [peers({ endpoints: {} }), /spoke1\.endpoints: must be a list of at most 16/],
    [peers({ endpoints: new Array(17).fill(endpoint('192.0.2.1')) }), /endpoints: must be a list of at most 16/],
    [peers({ endpoints: [null] }), /spoke1\.endpoints\[0\]: null is not an object/],
    [peers({ endpoints: [{ ...endpoint('192.0.2.1'), port: 1 }] }), /endpoints\[0\]\.port: is not known/],
    [peers({ endpoints: [{ ...endpoint('192.0.2.1'), child: 7 }] }), /endpoints\[0\]: connection and child must be/],
    [peers({ endpoints: [{ ...endpoint('192.0.2.1'), connection: 'x'.repeat(129) }] }), /must be texts of at most 128/],
  ];
  for (const [raw, why] of refused) assert.throws(() => PeersFile.parse(raw, 'test'), why);
  assert.equal(
    PeersFile.parse(JSON.parse('{"peers":{"__proto__":{},"toString":{}}}'), 'test').get('toString').site,
    undefined,
  );
});

test('the nearest layer that gives a member wins, and the policy says where it comes from', () => {
  const file = PeersFile.parse(
    {
      policy: { intervalMs: 30_000, retries: 3 },
      labels: { dialup: { preset: 'fortios-on-demand', jitterPercent: 0 }, slow: { intervalMs: 60_000 } },
      peers: {
        plain: {},
        caller: { label: 'dialup' },
        own: { label: 'dialup', policy: { mode: 'PERIODIC', retryIntervalMs: 1_000, retries: 4 } },
        slow: { label: 'slow', policy: { preset: 'strongswan' } },
      },
    },
    'test',
  );
  const policy = (id: string) => {
    const { mode, intervalMs, retryIntervalMs, retries, retryScheduleMs, jitterPercent, source } = file.get(id).policy;
    return [Mode[mode], intervalMs, retryIntervalMs, retries, retryScheduleMs, jitterPercent, source];
  };
  const fortios = [3_000, 6_000, 12_000, 24_000, 48_000];
  assert.deepEqual(policy('unknown'), ['ON_IDLE', 30_000, 2_000, 3, [], 10, 'headend']);
  assert.deepEqual(policy('plain'), ['ON_IDLE', 30_000, 2_000, 3, [], 10, 'headend']);
  assert.deepEqual(policy('caller'), ['ON_DEMAND', 20_000, 0, 0, fortios, 0, 'label dialup over headend']);
  assert.deepEqual(policy('slow'), ['ON_IDLE', 30_000, 4_000, 6, [], 10, 'peer over label slow over headend']);
  assert.deepEqual(policy('own'), ['PERIODIC', 20_000, 1_000, 4, [], 0, 'peer over label dialup over headend']);
  assert.equal(PeersFile.parse({}, 'test').get('x').policy.source, 'defaults');
});

test('labels, presets and wildcards that do not exist are refused with their place', () => {
  const refused: [raw: unknown, why: RegExp][] = [
    [{ policy: { preset: 'cisco' } }, /policy\.preset=cisco: must be one of cisco-ios-periodic, /],
    [{ policy: { preset: 'toString' } }, /policy\.preset=toString/],
    [{ observe: 'yes' }, /test: observe=yes: must be true or false/],
    [{ labels: [] }, /test: labels: \[\] is not an object/],
    [{ labels: { a: { interval: 1 } } }, /labels\.a\.interval: is not known/],
    [
      { labels: { a: { retryFactorPercent: 1_000, retries: 9 } } },
      /labels\.a\.retryFactorPercent: 1000 makes the last/,
    ],
    [{ labels: { [`${'x'.repeat(65)}`]: {} } }, /a label has 1 to 64 bytes/],
    [{ peers: { a: { label: 'b' } } }, /test: a\.label=b: must be one of this file's labels/],
    [{ labels: {}, peers: { a: { label: 'toString' } } }, /a\.label=toString/],
    [{ peers: { '*': {} } }, /test: \*: wildcards are not supported/],
    [{ peers: { 'branch-*': {} } }, /branch-\*: wildcards are not supported/],
    [{ peers: { '%any': {} } }, /%any: wildcards are not supported/],
    [{ peers: { '': {} } }, /a peer's identity has 1 to 128 bytes/],
    [{ policy: { mode: 'HEARTBEAT' } }, /policy\.mode=HEARTBEAT: must be PERIODIC/],
  ];
  for (const [raw, why] of refused) assert.throws(() => PeersFile.parse(raw, 'test'), why);
});

test('a file that was read again replaces what was read before, and tells whose settings are others', () => {
  const parse = (raw: object) => PeersFile.parse(raw, 'test');
  const file = parse({ policy: { retries: 3 }, peers: { a: { policy: { retries: 4 } }, b: {}, c: { site: 'west' } } });
  const isChanged = file.replace(
    parse({
      policy: { retries: 5 },
      peers: { a: { policy: { retries: 4 } }, b: { endpoints: [endpoint('192.0.2.1')] } },
    }),
  );
  assert.deepEqual(['a', 'b', 'c', 'x'].filter(isChanged), ['b', 'c', 'x']);
  assert.equal(file.get('x').policy.retries, 5);
  assert.deepEqual(['a', 'b', 'c', 'x'].filter(file.replace(file)), []);
});

test('a peer is muted until a moment, and pinned to an endpoint', () => {
  const endpoints = [endpoint('192.0.2.1'), { ...endpoint('192.0.2.2'), connection: 'backup' }];
  const peer = parse({ endpoints, muteUntil: '2026-12-31T18:00:00+01:00', pin: 'backup' });
  assert.deepEqual([peer.muteUntilUnixMs, peer.pinned], [Date.UTC(2026, 11, 31, 17), 1]);
  assert.deepEqual([parse({}).muteUntilUnixMs, parse({}).pinned], [undefined, undefined]);
  for (const muteUntil of [
    'tomorrow',
    '2026-12-31',
    '2026-12-31T18:00:00',
    '2026-13-01T00:00Z',
    1_800_000_000_000,
    null,
  ])
    assert.throws(() => parse({ muteUntil }), /spoke1\.muteUntil=.*: must be a moment like 2026/);
  for (const pin of ['other', 1, null])
    assert.throws(() => parse({ endpoints, pin }), /spoke1\.pin=.*: must be the connection/);
});

test('observe turns every action into a report, whatever the layers say', () => {
  const file = PeersFile.parse({ observe: true, peers: { a: { policy: { action: 'RESTART' } } } }, 'test');
  assert.deepEqual([file.get('a').policy.observe, file.get('a').policy.action], [true, Action.RESTART]);
  assert.equal(file.get('x').policy.observe, true);
  assert.equal(PeersFile.parse({}, 'test').get('x').policy.observe, false);
});

test("the cluster's own policy is the farthest layer, and travels as a policy of the API", () => {
  const told = policyOf(readMembers({ preset: 'fortios-on-idle', action: 'TRAP' }, 'test'));
  const file = PeersFile.parse({ peers: { a: { policy: { intervalMs: 5_000 } } } }, 'test', membersOf(told));
  const { mode, intervalMs, retryScheduleMs, action, source } = file.get('a').policy;
  assert.deepEqual(
    [mode, intervalMs, retryScheduleMs, action, source],
    [Mode.ON_IDLE, 5_000, [3_000, 6_000, 12_000, 24_000, 48_000], Action.TRAP, 'peer over cluster'],
  );
  const nearer = PeersFile.parse({ policy: { preset: 'aws' } }, 'test', membersOf(told)).get('x').policy;
  assert.deepEqual([nearer.retries, nearer.retryScheduleMs, nearer.source], [3, [], 'headend over cluster']);
});
