import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Lab } from './lab.ts';
import { HUB, lose, lost, SPOKE } from './network.ts';
import type { Tunnel } from './tunnel.ts';
import { Wire } from './wire.ts';

const PINGS = 3;
const LOSS_PERCENT = 20;
/** Enough that some are lost and most come back. */
const PINGS_WITH_LOSS = 40;

const TUNNELS: Readonly<Record<string, Tunnel>> = {
  'plain ESP between sites': { version: 4, between: 'sites', encapsulated: false },
  'plain ESP between hosts': { version: 4, between: 'hosts', encapsulated: false },
  'ESP in UDP between hosts': { version: 4, between: 'hosts', encapsulated: true },
  'plain ESP between sites, IPv6': { version: 6, between: 'sites', encapsulated: false },
  'ESP in UDP between hosts, IPv6': { version: 6, between: 'hosts', encapsulated: true },
};

describe('tunnels of two stock strongSwan on the kernel’s ESP', () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.up();
  });
  after(() => lab?.down());

  for (const [name, tunnel] of Object.entries(TUNNELS))
    test(`${name}: a ping goes through, and nothing beside it`, async (t) => {
      await lab.connect(tunnel);
      const wires = [new Wire(lab.hub, HUB.device), new Wire(lab.spoke, SPOKE.device)];
      t.after(async () => {
        for (const wire of wires) wire.close();
        await lab.disconnect();
      });
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
      const kinds = wires.map((wire) => wire.take().map(({ kind }) => kind));
      const expected = new Array(PINGS).fill(tunnel.encapsulated ? 'esp in udp' : 'esp');
      assert.deepEqual(kinds, [expected, expected]);
    });

  test(`ESP in UDP between sites, ${LOSS_PERCENT} % lost: most pings come back`, async () => {
    const tunnel = { version: 4, between: 'sites', encapsulated: true } as const;
    await lab.connect(tunnel);
    await lose(lab.spoke, SPOKE.device, LOSS_PERCENT);
    const back = await lab.ping(tunnel, PINGS_WITH_LOSS);
    assert(PINGS_WITH_LOSS - back <= (await lost(lab.spoke, SPOKE.device)), 'others were lost than netem dropped');
    assert(back >= PINGS_WITH_LOSS / 2 && back < PINGS_WITH_LOSS, `${back} of ${PINGS_WITH_LOSS} came back`);
  });
});
