import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { XfrmSas } from '../../../services/agent/headend/xfrm/xfrm-sas.ts';
import { Address } from '../../../workers/base/address.ts';
import { Lab } from './lab.ts';
import { HUB, SPOKE } from './network.ts';
import type { Tunnel } from './tunnel.ts';

const PINGS = 4;
/** A dump of so many comes in several parts. */
const MANY = 400;
const FIRST_SPI = 0x1000;
const ESP = 50;

const TUNNELS: readonly Tunnel[] = [
  { version: 4, between: 'sites', encapsulated: true },
  { version: 4, between: 'sites', encapsulated: false },
  { version: 6, between: 'sites', encapsulated: false },
];

describe('the kernel’s table of SAs', () => {
  let lab: Lab;
  let sas: XfrmSas;
  before(async () => {
    lab = await Lab.up();
    sas = lab.hub.enter(() => XfrmSas.open())!;
    assert(sas, 'the kernel has XFRM');
  });
  after(async () => {
    sas?.close();
    await lab?.down();
  });

  for (const tunnel of TUNNELS)
    test(`inbound packets grow with traffic and only then: ${JSON.stringify(tunnel)}`, async (t) => {
      await lab.connect(tunnel);
      t.after(() => lab.disconnect());
      const [hub, spoke] = [HUB.outer[tunnel.version], SPOKE.outer[tunnel.version]];
      const child = (await lab.hubCharon.sas())[0]!.children[0]!;
      const look = () => {
        const columns = sas.list()!;
        assert.equal(columns.count, 2, 'an SA each way');
        const row = sas.find(child.inboundSpi, Address.of(hub));
        assert(row >= 0, 'the inbound SA is found');
        assert.equal(sas.find(child.inboundSpi, Address.of(spoke)), -1, 'an SPI is one at its destination only');
        assert.equal(columns.source(row).toString(), spoke);
        assert.equal(columns.destination(row).toString(), hub);
        assert.equal(columns.protocol[row], ESP);
        assert.equal(columns.sourcePort[row], tunnel.encapsulated ? 4500 : 0);
        assert.equal(columns.destinationPort[row], tunnel.encapsulated ? 4500 : 0);
        return { packets: columns.packets[row]!, firstUsed: columns.firstUsed[row]! };
      };
      assert.deepEqual(look(), { packets: 0, firstUsed: 0 });
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
      const { packets, firstUsed } = look();
      assert.equal(packets, PINGS);
      assert(Math.abs(firstUsed - Date.now() / 1_000) < 60, `first used at ${firstUsed}`);
      assert.equal((await lab.hubCharon.sas())[0]!.children[0]!.packetsIn, PINGS, 'charon says the same');
      await sleep(1_000);
      assert.equal(look().packets, PINGS, 'no traffic, no growth');
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
      assert.equal(look().packets, 2 * PINGS);
    });

  test(`${MANY} SAs of every kind are read, each with what it was made with`, async () => {
    const batch = join(lab.directory, 'states');
    const made = Array.from({ length: MANY }, (_, n) => ({ spi: FIRST_SPI + n, mark: n % 3, interfaceId: n % 5 }));
    const lines = made.map(({ spi, mark, interfaceId }) =>
      [
        `xfrm state add src 192.0.2.10 dst 192.0.2.1 proto esp spi ${spi} reqid 7 mode tunnel`,
        'aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128',
        mark > 0 ? `mark ${mark}` : '',
        interfaceId > 0 ? `if_id ${interfaceId}` : '',
        `encap espinudp ${spi} 4500 0.0.0.0`,
      ].join(' '),
    );
    writeFileSync(batch, `${lines.join('\n')}\n`);
    await lab.hub.ip('-batch', batch);
    const columns = sas.list()!;
    assert.equal(columns.count, MANY);
    for (const { spi, mark, interfaceId } of made) {
      const row = sas.find(spi, Address.of('192.0.2.1'));
      assert(row >= 0, `SPI ${spi} is missing`);
      assert.equal(columns.mark[row], mark);
      assert.equal(columns.interfaceId[row], interfaceId);
      assert.equal(columns.sourcePort[row], spi);
    }
    await lab.hub.ip('xfrm', 'state', 'flush');
    assert.equal(sas.list()!.count, 0);
    assert.equal(sas.find(FIRST_SPI, Address.of('192.0.2.1')), -1);
  });
});
