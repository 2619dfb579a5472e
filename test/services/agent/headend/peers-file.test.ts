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
