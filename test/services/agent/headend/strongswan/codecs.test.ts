import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  decodeHa,
  encodeMidInitiator,
  encodeResync,
  HaType,
} from '../../../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { TrafficWatch } from '../../../../../services/agent/headend/strongswan/traffic.ts';
import {
  decodeMessage,
  encodeMessage,
  encodePacket,
  Packet,
  PacketReader,
} from '../../../../../services/agent/headend/strongswan/vici/codec.ts';
import { type ListedSa, readSas } from '../../../../../services/agent/headend/strongswan/vici/sas.ts';
import { HaFormatError, ViciFormatError } from '../../../../../workers/base/errors.ts';

describe('vici', () => {
  test('the example of its README', () => {
    const message = { key1: 'value1', section1: { 'sub-section': { key2: 'value2' }, list1: ['item1', 'item2'] } };
    assert.equal(
      encodeMessage(message).toString('hex'),
      '03046b6579310006' +
        '76616c756531' +
        '010873656374696f6e31' +
        '010b7375622d73656374696f6e' +
        '03046b6579320006' +
        '76616c756532' +
        '02' +
        '04056c69737431' +
        '05' +
        '00056974656d31' +
        '05' +
        '00056974656d32' +
        '06' +
        '02',
    );
    assert.deepEqual(decodeMessage(encodeMessage(message)), message);
  });

  test('a packet is its length, type, name and message', () => {
    assert.equal(
      encodePacket(Packet.CMD_REQUEST, 'version').toString('hex'),
      '00000009' + '00' + '07' + '76657273696f6e',
    );
  });

  test('damage is an error, never a hang', () => {
    const good = encodeMessage({ a: 'b', c: { d: ['e'] } });
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
        const bad = Buffer.from(good);
        bad[at] = byte;
        try {
          decodeMessage(bad);
        } catch (error) {
          assert(error instanceof ViciFormatError);
        }
      }),
    );
    assert.throws(() => decodeMessage(good.subarray(0, 4)), ViciFormatError);
  });
});

test('a packet that cannot be read ends its connection; what is no fault of the packet is thrown on', () => {
  const taken: number[] = [];
  const reader = new PacketReader((type, body) => taken.push(type, Object.keys(decodeMessage(body)).length));
  const packet = (...bytes: number[]) => Buffer.of(0, 0, 0, bytes.length, ...bytes);
  assert.equal(reader.take(packet(Packet.CMD_RESPONSE)), true);
  assert.equal(reader.take(packet(Packet.EVENT, 3, 9, 1)), false);
  assert.equal(reader.take(Buffer.of(0xff, 0xff, 0xff, 0xff)), false);
  assert.deepEqual(taken, [Packet.CMD_RESPONSE, 0]);
  const fails = new PacketReader(() => {
    throw new TypeError('ours');
  });
  assert.throws(() => fails.take(packet(Packet.EVENT)), /ours/);
});

test('of SAs that charon lists only those count that can be', () => {
  const ends = { 'local-host': '192.0.2.1', 'local-port': '4500', 'remote-host': '192.0.2.2', 'remote-port': '4500' };
  const spis = { 'initiator-spi': '1', 'responder-spi': 'abcdef0123456789' };
  const good = { uniqueid: '1', state: 'ESTABLISHED', ...spis, ...ends };
  const listed = readSas({
    good,
    connecting: { ...good, state: 'CONNECTING', 'remote-host': '%any' },
    list: ['x'],
    text: 'x',
    nothing: {},
    spi: { ...good, 'initiator-spi': 'x' },
    long: { ...good, 'responder-spi': 'abcdef01234567890' },
    host: { ...good, 'remote-host': '%any' },
    zone: { ...good, 'local-host': 'fe80::1%eth0' },
    port: { ...good, 'remote-port': 'x' },
    high: { ...good, 'remote-port': '65536' },
  });
  assert.deepEqual(
    listed.map(({ connection }) => connection),
    ['good', 'connecting'],
  );
});

describe('ha messages', () => {
  const id = {
    version: 2,
    spiI: Buffer.from('dae17a3432643445', 'hex'),
    spiR: Buffer.from('90988047' + '1d6f48dc', 'hex'),
    initiator: false,
  };

  test('IKE_UPDATE as charon 5.9.8 sent it', () => {
    const message = decodeHa(
      Buffer.from(
        '03020102dae17a3432643445909880471d6f48dc000302036875620402067370' +
          '6f6b6531061194' +
          '02c0000201071194' +
          '02c000020a' +
          '0900000040' +
          '0540000000'.slice(0, 0) +
          '0873697465310'.slice(0, 0) +
          '08736974653100',
        'hex',
      ),
    );
    assert.equal(message.type, HaType.IKE_UPDATE);
    assert.equal(message.remoteId, 'spoke1');
    assert.deepEqual(message.remoteAddress, { address: '192.0.2.10', port: 4500 });
    assert.deepEqual(message.localAddress, { address: '192.0.2.1', port: 4500 });
    assert.equal(message.configName, 'site1');
    assert.equal(message.ikeId!.spiR.toString('hex'), '909880471d6f48dc');
  });

  for (const [version, resync, mid] of [
    [3, '030b220001', 33],
    [4, '040b240001', 35],
    [5, '050b240001', 35],
  ] as const) {
    test(`version ${version}: RESYNC and MID_INITIATOR`, () => {
      assert.equal(encodeResync(version).toString('hex'), resync);
      const encoded = encodeMidInitiator(version, id, 2 ** 30);
      assert.equal(encoded[21], mid);
      const decoded = decodeHa(encoded);
      assert.equal(decoded.type, HaType.IKE_MID_INITIATOR);
      assert.equal(decoded.mid, 2 ** 30);
      assert.deepEqual(decoded.ikeId, id);
    });

    test(`version ${version}: attributes behind the moved ones`, () => {
      // ALG_PRF, ALG_ENCR, ALG_ENCR_LEN, ALG_INTEG and a 6.0 chunk between.
      const prf = version === 3 ? 19 : 20;
      const bytes = [version, HaType.IKE_ADD, prf, 0, 5, prf + 2, 0, 12, prf + 3, 1, 0, prf + 4, 0, 12];
      if (version > 3) bytes.push(18, 0, 2, 0xaa, 0xbb, 26, 0, 2, 0, 36);
      const message = decodeHa(Buffer.from(bytes));
      assert.deepEqual(
        [message.prf, message.encryption, message.encryptionLength, message.integrity],
        [5, 12, 256, 12],
      );
      assert.equal(message.addSecret?.toString('hex'), version > 3 ? 'aabb' : undefined);
    });
  }

  test('damage and other versions are errors', () => {
    assert.throws(
      () => decodeHa(Buffer.from('0601', 'hex')),
      /version byte 6, known are 3 \(strongSwan 5\.4\.0 to 6\.0\.0\), 4 \(strongSwan 6\.0\.1\), 5 \(strongSwan 6\.0\.2 to/,
    );
    assert.throws(() => decodeHa(Buffer.from('0301ff', 'hex')), HaFormatError);
    assert.throws(() => decodeHa(Buffer.from('03010102', 'hex')), HaFormatError);
  });
});

test('traffic: only counters that grew are evidence, and the doubt of whole seconds is the peer’s', () => {
  const watch = new TrafficWatch();
  const sas = (packetsIn: number, packetsOut: number) =>
    [{ spi: 'a', children: [{ inboundSpi: 1, packetsIn, packetsOut, useIn: 2, useOut: 1 }] }] as unknown as ListedSa[];
  assert.deepEqual(watch.look(sas(5, 0)), [{ ageMs: 1_000, heard: ['a'], sent: [] }]);
  assert.deepEqual(watch.look(sas(5, 0)), []);
  assert.deepEqual(watch.look(sas(5, 1)), [{ ageMs: 0, heard: [], sent: ['a'] }]);
});
