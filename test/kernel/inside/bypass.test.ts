import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatagramSocket } from './datagram-socket.ts';
import { Lab } from './lab.ts';
import { HUB, SPOKE } from './network.ts';
import { Wire } from './wire.ts';

const PORT = 9_999;
/** Long enough for a datagram to arrive if it could. */
const QUIET_MS = 1_000;

describe('with a tunnel from host to host', () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.up();
  });
  after(() => lab?.down());

  for (const version of [4, 6] as const)
    test(`only a socket that bypasses IPsec speaks outside the tunnel, IPv${version}`, async (t) => {
      await lab.connect({ version, between: 'hosts', encapsulated: false });
      const [hub, spoke] = [HUB.outer[version], SPOKE.outer[version]];
      const wire = new Wire(lab.hub, HUB.device);
      const inTunnel = new DatagramSocket(lab.hub, hub, PORT);
      const outside = new DatagramSocket(lab.hub, hub, PORT + 1).bypass();
      const strict = new DatagramSocket(lab.spoke, spoke, PORT);
      const lenient = new DatagramSocket(lab.spoke, spoke, PORT + 1).bypass();
      t.after(async () => {
        for (const open of [wire, inTunnel, outside, strict, lenient]) open.close();
        await lab.disconnect();
      });

      inTunnel.send(Buffer.from('within'), spoke, PORT);
      assert.equal(String(await strict.next()), 'within');
      assert.deepEqual(
        wire.take().map(({ kind }) => kind),
        ['esp'],
      );

      outside.send(Buffer.from('beside'), spoke, PORT + 1);
      assert.equal(String(await lenient.next()), 'beside');
      const [packet, ...others] = wire.take();
      assert.equal(packet!.kind, 'clear');
      assert.equal(String(packet!.payload), 'beside');
      assert.deepEqual(others, []);

      // What should have come through the tunnel is dropped for all other sockets.
      outside.send(Buffer.from('beside'), spoke, PORT);
      await sleep(QUIET_MS);
      assert.equal(wire.take()[0]!.kind, 'clear');
      assert.equal(strict.take(), undefined);
    });
});
