import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Parkable, Parking } from '../../../../../services/agent/headend/strongswan/parking.ts';
import type { ListedSa } from '../../../../../services/agent/headend/strongswan/vici/sas.ts';
import { PARKED_ID } from '../../../../../workers/ikev2/header.ts';
import { eventually } from '../../../../eventually.ts';

const SA: Parkable = {
  id: { version: 2, spiI: Buffer.alloc(8, 1), spiR: Buffer.alloc(8, 2), initiator: false },
  spi: '0101010101010101'.padEnd(32, '02'),
  uniqueId: '7',
  parked: false,
  respondedAt: 0,
  children: new Map([[1, 2]]),
};
const IDLE = { established: true, busy: false, children: [] as ListedSa['children'] };

function rig() {
  const told: number[][] = [];
  const looks: (string | undefined)[] = [];
  const state = { now: 20_000, listed: IDLE as typeof IDLE | undefined, arrives: true, stands: true };
  const parking = new Parking({
    setNextIds: async (ids) => {
      told.push(ids.map(({ mid }) => mid));
      return state.arrives;
    },
    list: async (_wanted, uniqueId) => {
      looks.push(uniqueId);
      return state.listed ? [{ ...state.listed, spi: SA.spi } as ListedSa] : [];
    },
    stands: () => state.stands,
    now: () => state.now,
  });
  return { parking, told, looks, state };
}

/** What a promise has come to, if it has. */
function outcome(promise: Promise<boolean>): { value?: boolean } {
  const seen: { value?: boolean } = {};
  void promise.then((value) => {
    seen.value = value;
  });
  return seen;
}
const turns = () => new Promise((resolve) => setTimeout(resolve, 200));

describe('an SA is parked', () => {
  test('once, in a place of its own each time', async () => {
    const { parking, told } = rig();
    assert(await parking.park(SA));
    assert(await parking.park(SA));
    const [first, second] = told.flat();
    assert.equal(told.length, 2);
    assert(first! >= PARKED_ID && first! < 2 * PARKED_ID && second! >= PARKED_ID && second! < 2 * PARKED_ID);
    assert(Math.abs(first! - second!) >= 0x10000);
  });

  test('not while charon has an exchange on it under way, nor while the spoke may have missed the last answer', async () => {
    for (const reason of ['busy', 'answered just now'] as const) {
      const { parking, told, state } = rig();
      if (reason === 'busy') state.listed = { ...IDLE, busy: true };
      else state.now = 5_000;
      const parked = outcome(parking.park(SA));
      await turns();
      assert.deepEqual(told, [], reason);
      state.listed = IDLE;
      state.now += 20_000;
      await eventually('it is parked', 2_000, () => parked.value === true);
    }
  });

  test('at once if the spoke was heard from since the last answer', async () => {
    const { parking, state } = rig();
    state.now = 5_000;
    state.listed = {
      ...IDLE,
      children: [
        { name: 'net', inboundSpi: 1, outboundSpi: 2, packetsIn: 3, packetsOut: 0, useIn: 2, useOut: undefined },
      ],
    };
    assert(await parking.park(SA));
  });

  test('again, and elsewhere, if charon may have missed it', async () => {
    const { parking, told, state } = rig();
    state.arrives = false;
    const parked = outcome(parking.park(SA));
    await eventually('it was told', 2_000, () => told.length === 1);
    assert.equal(parked.value, undefined);
    state.arrives = true;
    state.now += 2_000;
    await eventually('it is parked', 2_000, () => parked.value === true);
    assert.equal(told.length, 2);
    assert.notEqual(told[0]![0], told[1]![0]);
  });

  test('no more when it is gone', async () => {
    const { parking, told, state } = rig();
    state.listed = undefined;
    const parked = outcome(parking.park(SA));
    await turns();
    state.stands = false;
    await eventually('nobody waits', 2_000, () => parked.value === false);
    assert.deepEqual(told, []);
  });

  test('not before its spoke can have had the last answer, where nothing is heard of it: charon is not asked until then', async () => {
    const { parking, looks, state } = rig();
    state.now = 5_000;
    const parked = outcome(parking.park({ ...SA, children: new Map() }));
    await turns();
    assert.deepEqual(looks, []);
    state.now = 12_000;
    await eventually('it is parked', 2_000, () => parked.value === true);
  });

  test('with one look at all where there are many, or where charon has not told its number yet', async () => {
    const { parking, looks } = rig();
    assert(await parking.park({ ...SA, uniqueId: undefined }));
    assert.deepEqual(looks, [undefined]);
    const many = Array.from({ length: 30 }, (_, n) => parking.park({ ...SA, spi: n === 0 ? SA.spi : `${n}` }));
    assert(await many[0]);
    parking.stop();
    assert(looks.length <= 3 && looks.every((uniqueId) => uniqueId === undefined));
  });
});
