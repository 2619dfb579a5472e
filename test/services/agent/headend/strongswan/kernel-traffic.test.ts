import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KernelTraffic } from '../../../../../services/agent/headend/strongswan/kernel-traffic.ts';
import type { SaRecord } from '../../../../../services/agent/headend/strongswan/sa-book.ts';
import { SaColumns } from '../../../../../services/agent/headend/xfrm/sa-columns.ts';

const HUB = '192.0.2.1';
const SPOKE = '192.0.2.10';
const record = (spi: string, ...children: [number, number][]) =>
  ({
    spi,
    local: { address: HUB, port: 4500 },
    remote: { address: SPOKE, port: 4500 },
    children: new Map(children),
  }) as unknown as SaRecord;

/** A kernel with SAs by destination and SPI, and their packets. */
function rig(sas: Record<string, number>) {
  const columns = new SaColumns();
  const names = () => Object.keys(sas);
  const traffic = new KernelTraffic(() => ({
    list() {
      columns.packets = Float64Array.from(Object.values(sas));
      return columns;
    },
    find: (spi, destination) => names().indexOf(`${destination}/${spi}`),
    close() {},
  }));
  return (records: SaRecord[], wantsSent = false) => traffic.look(records, () => wantsSent);
}

describe('traffic from the kernel’s SAs', () => {
  test('is what grew since the last look; the first look tells nothing', () => {
    const sas = { [`${HUB}/1`]: 5, [`${HUB}/2`]: 7, [`${SPOKE}/11`]: 3 };
    const look = rig(sas);
    const records = [record('a', [1, 11]), record('b', [2, 12])];
    assert.deepEqual(look(records, true), { heard: [], sent: [] });
    assert.deepEqual(look(records, true), { heard: [], sent: [] });
    sas[`${HUB}/1`] = 6;
    assert.deepEqual(look(records, true), { heard: ['a'], sent: [] });
    sas[`${SPOKE}/11`] = 4;
    assert.deepEqual(look(records, true), { heard: [], sent: ['a'] });
    sas[`${SPOKE}/11`] = 5;
    assert.deepEqual(look(records), { heard: [], sent: [] });
  });

  test('of a child that is new since the last look is all news', () => {
    const sas: Record<string, number> = { [`${HUB}/1`]: 5 };
    const look = rig(sas);
    look([record('a', [1, 11])]);
    sas[`${HUB}/3`] = 2;
    assert.deepEqual(look([record('a', [1, 11], [3, 13])]), { heard: ['a'], sent: [] });
  });

  test('is not told where the kernel does not have them: an SPI at another address is no child of ours', () => {
    assert.equal(rig({ [`${SPOKE}/1`]: 5 })([record('a', [1, 11])]), undefined);
    assert.deepEqual(rig({})([]), { heard: [], sent: [] });
  });
});
