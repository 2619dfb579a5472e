import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PeersFile } from '../../../../services/agent/headend/peers-file.ts';

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
    [{ peer: {} }, /peers test\.peer: is not known, only policy, peers/],
    [{ peers: [] }, /peers test: peers: \[\] is not an object/],
    [{ policy: [] }, /peers test: policy: \[\] is not an object/],
    [{ policy: { interval: 10 } }, /policy\.interval: is not known, only mode, action, intervalMs/],
    [{ policy: { mode: 'toString' } }, /policy\.mode=toString: must be PERIODIC/],
    [{ policy: { mode: 'UNSPECIFIED' } }, /policy\.mode=UNSPECIFIED/],
    [{ policy: { mode: '2' } }, /policy\.mode=2/],
    [{ policy: { mode: 2 } }, /policy\.mode=2/],
    [{ policy: { action: 'constructor' } }, /policy\.action=constructor: must be CLEAR or FAILOVER/],
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
