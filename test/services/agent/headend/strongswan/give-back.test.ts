import assert from 'node:assert/strict';
import { test } from 'node:test';
import { giveBack } from '../../../../../services/agent/headend/strongswan/give-back.ts';
import type { SaRecord } from '../../../../../services/agent/headend/strongswan/sa-book.ts';

test('each SA goes back with the id that the node names; without one, or gone meanwhile, it stays parked', async () => {
  const record = (spi: string, parked = true) => ({ id: { version: 2 }, spi, parked }) as SaRecord;
  const names = (records: readonly SaRecord[]) => records.map(({ spi }) => spi);
  const all = [record('known'), record('unknown'), record('never asked'), record('gone'), record('not parked', false)];
  const released = new Map<string, number | undefined>();
  const removed: string[] = [];
  const set: [string, number][] = [];
  const dropped: string[] = [];
  const ids: Record<string, number | undefined> = { known: 7, unknown: undefined, 'never asked': 0, gone: 3 };
  const { parked, left } = await giveBack(all, {
    remove({ spi }) {
      removed.push(spi);
      // The node answers a moment later.
      setTimeout(() => released.set(spi, ids[spi]), 5);
    },
    released,
    unpark: async ({ spi }, id) => set.push([spi, id]) > 0 && spi !== 'gone',
    dropCare: ({ spi }) => dropped.push(spi),
  });
  assert.deepEqual(removed, names(all));
  assert.deepEqual(set, [
    ['known', 7],
    ['gone', 3],
  ]);
  assert.deepEqual(dropped, ['known']);
  assert.deepEqual(names(parked), ['known', 'unknown', 'never asked', 'gone']);
  assert.deepEqual(names(left), ['unknown', 'never asked', 'gone']);
});
