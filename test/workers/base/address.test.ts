import assert from 'node:assert/strict';
import { SocketAddress } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { Address } from '../../../workers/base/address.ts';
import { AddressColumn } from '../../../workers/base/address-column.ts';

test('addresses are read and written as people write them', () => {
  for (const [text, hex, again = text] of [
    ['192.0.2.1', '00000000000000000000ffffc0000201'],
    ['255.255.255.255', '00000000000000000000ffffffffffff'],
    ['::', '00000000000000000000000000000000'],
    ['::1', '00000000000000000000000000000001'],
    ['2001:db8::', '20010db8000000000000000000000000'],
    ['2001:db8::8:800:200c:417a', '20010db80000000000080800200c417a'],
    ['2001:DB8:0:0:1:0:0:1', '20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['fe80::1%eth0', 'fe800000000000000000000000000001', 'fe80::1'],
    ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221', '64:ff9b::c000:221'],
    ['1:0:2:0:3:0:4:0', '00010000000200000003000000040000', '1:0:2:0:3:0:4:0'],
  ] as const) {
    const address = Address.of(text);
    assert.equal(address.bytes.toString('hex'), hex, text);
    assert.equal(address.family, text.includes(':') ? 6 : 4);
    assert.equal(String(address), again);
  }
});

test('what is no address is refused, and named', () => {
  for (const text of ['', 'hub', '1.2.3', '1.2.3.256', ':::', '1::2::3'])
    assert.throws(() => Address.of(text), { name: 'RangeError', message: `"${text}" is not an IP address` });
});

test('property: an IPv6 address reads as Node reads it, and what is written is the same address', () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const address = Address.of(text);
      assert.deepEqual(Address.of(String(address)).bytes, address.bytes);
      const node = new SocketAddress({ address: text.replace(/%.*$/, ''), family: 'ipv6' });
      assert.deepEqual(Address.of(node.address).bytes, address.bytes);
    }),
  );
});

test('property: a column holds addresses of both families by handle, however they change', () => {
  const change = fc.record({ handle: fc.nat(7), address: fc.option(fc.oneof(fc.ipV4(), fc.ipV6())) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const column = new AddressColumn();
      column.grow(8);
      const model = new Map<number, string>();
      for (const { handle, address } of changes) {
        if (address === null) {
          column.drop(handle);
          model.delete(handle);
        } else {
          column.set(handle, Address.of(address));
          model.set(handle, String(Address.of(address)));
        }
        for (const [held, text] of model) assert.equal(String(column.get(held)), text);
      }
    }),
  );
});
