/** Data from charon and the kernel to an agent: ha datagrams, vici packets, dumps of SAs. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { PeersFile } from '../../../services/agent/headend/peers-file.ts';
import { decodeHa, encodeMidInitiator } from '../../../services/agent/headend/strongswan/ha/ha-message.ts';
import { SaBook, toApiSa } from '../../../services/agent/headend/strongswan/sa-book.ts';
import {
  decodeEvent,
  encodeMessage,
  encodePacket,
  Packet,
  PacketReader,
} from '../../../services/agent/headend/strongswan/vici/codec.ts';
import { type ListedSa, readSas } from '../../../services/agent/headend/strongswan/vici/sas.ts';
import { SaColumns } from '../../../services/agent/headend/xfrm/sa-columns.ts';
import { checkSa } from '../../../services/api/validation.ts';
import { Address } from '../../../workers/base/address.ts';
import { HaFormatError } from '../../../workers/base/errors.ts';
import type { Random } from '../../simulation/random.ts';
import { spoil } from '../bytes.ts';

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../fixtures/${name}.json`, import.meta.url), 'utf8')) as unknown;
const ADDS = (fixture('ike-messages') as { ikeAdd: string }[]).map(({ ikeAdd }) => Buffer.from(ikeAdd, 'hex'));
const DUMP = fixture('xfrm-dump') as { sequence: number; parts: string[] };
const UPDATE = Buffer.from(
  '0302' + '036875620402067370' + '6f6b6531061194' + '02c0000201071194' + '02c000020a' + '08736974653100',
  'hex',
);
const PEERS = PeersFile.parse({}, 'fuzz');
const LISTED = {
  uniqueid: '1',
  version: '2',
  state: 'ESTABLISHED',
  'initiator-spi': '0123456789abcdef',
  'responder-spi': 'fedcba9876543210',
  'local-host': '192.0.2.1',
  'local-port': '4500',
  'remote-host': '2001:db8::1',
  'remote-port': '4500',
  'remote-id': 'spoke',
  'child-sas': { net: { 'spi-in': 'c0000001', 'spi-out': 'c0000002', 'packets-in': '7', 'use-in': '1' } },
};

/** Every SA that the book makes of it can be registered with the cluster, or is refused by name. */
function bookOf(): SaBook {
  const tell = (record: Parameters<typeof toApiSa>[0]) => {
    checkSa(toApiSa(record, PEERS.get(record.peerId), 1), { shard: 0, shards: 1, loopback: false });
  };
  const events = { ready: tell, changed: tell, gone() {}, unsupported() {} };
  return new SaBook(events, { ipv6: true, wasInCare: () => true });
}

export function fuzzHa(random: Random): boolean {
  const book = bookOf();
  const add = random.pick(ADDS);
  const id = decodeHa(add).ikeId!;
  const sa = add.subarray(2, 21);
  const about = (message: Buffer) => Buffer.concat([message.subarray(0, 2), sa, message.subarray(2)]);
  // With SK_d and PRF of the SA before, as of one that was rekeyed.
  const rekeyed = Buffer.concat([add, Buffer.of(18, 0, 2, 1, 2, 20, 0, random.integer(0, 9))]);
  const corpus = [
    add,
    rekeyed,
    about(UPDATE),
    encodeMidInitiator(3, id, random.uint32()),
    about(Buffer.of(3, 6, 27, 1, 2, 3, 4)),
  ];
  let taken = false;
  for (let n = 0; n < 10; n++) {
    const good = random.pick(corpus);
    try {
      book.take(decodeHa(random.chance(0.3) ? good : spoil(good, random)));
      taken = true;
    } catch (error) {
      assert(error instanceof HaFormatError, String((error as Error).stack));
    }
  }
  return taken;
}

export function fuzzVici(random: Random): boolean {
  const book = bookOf();
  const listed: ListedSa[] = [];
  const reader = new PacketReader((type, body) => {
    if (type === Packet.EVENT) listed.push(...readSas(decodeEvent(body).message));
  });
  const section = random.chance(0.3)
    ? { site: { new: LISTED } }
    : { site: LISTED, other: { ...LISTED, uniqueid: '2' } };
  const values = spoil(encodeMessage(section), random);
  const packet = encodePacket(Packet.EVENT, 'list-sa');
  const whole = Buffer.concat([packet, values]);
  whole.writeUInt32BE(whole.length - 4);
  const stream = random.chance(0.3) ? spoil(whole, random) : whole;
  for (let at = 0; at < stream.length; ) {
    const to = Math.min(stream.length, at + random.integer(1, 200));
    if (!reader.take(stream.subarray(at, to))) break;
    at = to;
  }
  for (const sa of listed) {
    book.takeHeld(sa, 0, true);
    book.takeListed(sa);
  }
  return listed.length > 0;
}

export function fuzzNetlink(random: Random): boolean {
  const columns = new SaColumns();
  for (const part of DUMP.parts) {
    const bytes = spoil(Buffer.from(part, 'hex'), random);
    const words = new Uint32Array(65_536 / 4);
    new Uint8Array(words.buffer).set(bytes.subarray(0, 65_536));
    columns.add(words, Math.min(bytes.length, 65_536), DUMP.sequence);
  }
  assert(columns.count <= 10_000, `${columns.count} SAs of one dump`);
  columns.find(random.uint32(), Address.of('192.0.2.1'));
  for (let row = 0; row < columns.count; row++) String(columns.source(row));
  return columns.count > 0;
}
