import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NOWHERE } from '../../../workers/base/address.ts';
import { Ikev2Exchange } from '../../../workers/ikev2/exchange.ts';
import { SessionTable } from '../../../workers/ikev2/sessions.ts';
import { SUITES } from '../../../workers/ikev2/suites.ts';
import { Machine, SPREAD } from '../../../workers/liveness/machine.ts';
import { Mode } from '../../../workers/liveness/policy.ts';
import { CheckpointWriter, decodeChunk } from '../../../workers/takeover/checkpoint.ts';
import { IdUncertainty } from '../../../workers/takeover/id-uncertainty.ts';

const POLICY = {
  mode: Mode.ON_IDLE,
  intervalMs: 10_000,
  retryIntervalMs: 1_000,
  retries: 3,
  jitterPercent: 0,
  unprovenMs: 0,
};
const EPOCH = 1_800_000_000_000;

function rig() {
  const sessions = new SessionTable();
  const exchange = new Ikev2Exchange(sessions, () => {});
  const machine = new Machine(0, 8, { probe: () => 0, verdict: () => {}, recovered: () => {} });
  const suite = SUITES[0]!;
  const length = 2 * (suite.keyLength + suite.saltLength + suite.integrityKeyLength);
  const add = (handle: number, heardAt: number, firstAskMs?: number) => {
    sessions.add({
      handle,
      spi: [1, handle, 2, handle],
      headendIsInitiator: false,
      address: NOWHERE,
      port: 0,
      nextMid: 7,
      keys: { suite: suite.index, material: new Uint8Array(length) },
    });
    machine.add(handle, POLICY, heardAt, { firstAskMs });
  };
  const writer = new CheckpointWriter(0);
  const collect = (now: number, whole = false) => writer.collect(sessions, machine.peers, EPOCH, now, whole);
  const rows = (whole = false) => collect(0, whole).chunks.flatMap(({ bytes }) => [...decodeChunk(bytes)]);
  return { add, collect, exchange, ids: new IdUncertainty(sessions), machine, rows, writer };
}

test('a row holds message id, evidence, what is under way, and what is not known for sure', () => {
  const { add, exchange, ids, rows, writer } = rig();
  add(0, 5);
  add(1, 6, SPREAD);
  add(2, 7);
  exchange.begin(0);
  ids.set(2, 5);
  writer.touch(0);
  assert.deepEqual(
    rows().map(({ nextMid, heardUnix, outstanding, fresh, uncertainty }) => [
      nextMid,
      heardUnix,
      outstanding,
      fresh,
      uncertainty,
    ]),
    [
      [7, EPOCH + 5, true, false, 0],
      [7, EPOCH + 6, false, true, 0],
      [7, EPOCH + 7, false, false, 4],
    ],
  );
});

test('only chunks that changed are collected, unless the whole is asked for', () => {
  const { add, rows, writer } = rig();
  add(0, 5);
  writer.touch(0);
  assert.equal(rows().length, 1);
  assert.equal(rows().length, 0);
  assert.equal(rows(true).length, 1);
});

test('a large shard is collected in parts, the longest unwritten first, and says up to when all is told', () => {
  const { collect, writer } = rig();
  const chunks = 40;
  const touch = (from: number, to: number) => {
    for (let chunk = from; chunk < to; chunk++) writer.touch(chunk * 512);
  };
  const indices = (now: number) => {
    const part = collect(now);
    return { first: part.chunks[0]?.index, count: part.chunks.length, asOfMs: part.asOfMs };
  };
  assert.deepEqual(indices(100), { first: undefined, count: 0, asOfMs: 100 });
  touch(0, chunks);
  // Since the last collection, at 100, something of the others may have changed.
  assert.deepEqual(indices(900), { first: 0, count: 16, asOfMs: 100 });
  touch(0, 1);
  assert.deepEqual(indices(1_700), { first: 16, count: 16, asOfMs: 100 });
  assert.deepEqual(indices(2_500), { first: 32, count: 9, asOfMs: 2_500 });
  assert.equal(collect(3_300, true).chunks.length, 64);
});
