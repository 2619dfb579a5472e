import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Dump, SaColumns } from '../../../../../services/agent/headend/xfrm/sa-columns.ts';
import { Address } from '../../../../../workers/base/address.ts';

/** Recorded: the parts of a dump in hex, and its SAs as ip(8) prints them. */
type Recorded = {
  readonly sequence: number;
  readonly parts: readonly string[];
  readonly sas: readonly Readonly<Record<'source' | 'destination', string> & Record<Numbers, number>>[];
};
type Numbers = (typeof NUMBERS)[number];
const NUMBERS = [
  'spi',
  'sourcePort',
  'destinationPort',
  'mark',
  'interfaceId',
  'packets',
  'bytes',
  'firstUsed',
] as const;

const dump = JSON.parse(
  readFileSync(new URL('../../../../fixtures/xfrm-dump.json', import.meta.url), 'utf8'),
) as Recorded;
const PARTS = dump.parts.map((hex) => words(Buffer.from(hex, 'hex')));
const ESP = 50;

describe('the kernel’s SAs in columns', () => {
  test('a recorded dump reads as ip(8) prints it', () => {
    const columns = new SaColumns();
    assert.deepEqual(read(columns), [...PARTS.slice(1).map(() => Dump.MORE), Dump.DONE]);
    const rows = Array.from({ length: columns.count }, (_, row) => ({
      ...Object.fromEntries(NUMBERS.map((name) => [name, columns[name][row]])),
      source: columns.source(row).toString(),
      destination: columns.destination(row).toString(),
    }));
    const order = (a: object, b: object) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
    const expected = dump.sas.map(({ source, destination, ...numbers }) => ({ ...numbers, source, destination }));
    assert.deepEqual(rows.sort(order), expected.sort(order));
    for (let row = 0; row < columns.count; row++) assert.equal(columns.protocol[row], ESP);
  });

  test('an SA is found by SPI and destination, and by nothing else', () => {
    const columns = new SaColumns();
    assert.equal(columns.find(dump.sas[0]!.spi, Address.of(dump.sas[0]!.destination)), -1);
    for (let look = 0; look < 2; look++) {
      columns.clear();
      read(columns);
      for (const { spi, source, destination } of dump.sas) {
        const row = columns.find(spi, Address.of(destination));
        assert.equal(columns.spi[row], spi);
        assert.equal(columns.destination(row).toString(), destination);
        assert.equal(columns.find(spi, Address.of(source)), -1);
        assert.equal(columns.find(spi ^ 1, Address.of(destination)), -1);
      }
    }
  });

  test('thousands of SAs, more than there was room for', () => {
    const columns = new SaColumns();
    const times = 1_000;
    for (let n = 0; n < times; n++) read(columns);
    assert.equal(columns.count, times * dump.sas.length);
    const last = columns.count - 1;
    assert.equal(columns.spi[last], columns.spi[dump.sas.length - 1]);
    assert.equal(columns.source(last).toString(), columns.source(dump.sas.length - 1).toString());
  });

  test('answers to another question are skipped', () => {
    const columns = new SaColumns();
    for (const part of PARTS) assert.equal(columns.add(part, part.byteLength, dump.sequence + 1), Dump.MORE);
    assert.equal(columns.count, 0);
  });

  test('a refusal and messages that are cut off are failures', () => {
    const columns = new SaColumns();
    const refusal = Buffer.alloc(36);
    refusal.writeUInt32LE(refusal.length, 0);
    refusal.writeUInt16LE(2, 4);
    refusal.writeUInt32LE(dump.sequence, 8);
    assert.equal(columns.add(words(refusal), refusal.length, dump.sequence), Dump.FAILED);
    assert.equal(columns.add(PARTS[0]!, 100, dump.sequence), Dump.FAILED);
    const nothing = words(Buffer.alloc(16));
    assert.equal(columns.add(nothing, nothing.byteLength, dump.sequence), Dump.FAILED);
    assert.equal(columns.count, 0);
  });
});

function read(columns: SaColumns): number[] {
  return PARTS.map((part) => columns.add(part, part.byteLength, dump.sequence));
}

/** As memory has them. */
function words(bytes: Buffer): Uint32Array {
  return new Uint32Array(Uint8Array.from(bytes).buffer);
}
