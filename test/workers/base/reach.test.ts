import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Address } from '../../../workers/base/address.ts';
import { reachOf } from '../../../workers/base/reach.ts';

const REACH = {
  host: ['192.0.2.1', '1.0.0.0', '223.255.255.255', '126.0.0.1', '128.0.0.1', '2001:db8::1', '::2', '1::', 'fe80::1'],
  loopback: ['127.0.0.1', '127.255.255.255', '::1', '::ffff:127.0.0.1'],
  nobody: ['0.0.0.0', '0.1.2.3', '224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255'].concat([
    '::',
    'ff02::1',
    'ffff::',
    '::ffff:0.0.0.0',
    '::ffff:224.0.0.1',
    '::ffff:255.255.255.255',
  ]),
} as const;

test('one host, this one, or nobody', () => {
  for (const [reach, addresses] of Object.entries(REACH))
    for (const address of addresses) assert.equal(reachOf(Address.of(address)), reach, address);
});
