import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatagramSocket } from './datagram-socket.ts';
import { Lab } from './lab.ts';
import { HUB, SPOKE } from './network.ts';
import { informational, SHARD_PORTS, steer } from './rules.ts';
import type { Tunnel } from './tunnel.ts';

const PINGS = 3;
const SPOKE_PORT = 9_999;
const IKE_PORT = 4500;
/** Long enough for a datagram to arrive if it could. */
const QUIET_MS = 1_000;

const TUNNELS: readonly Tunnel[] = [
  { version: 4, between: 'sites', encapsulated: true },
  { version: 4, between: 'sites', encapsulated: false },
  { version: 4, between: 'hosts', encapsulated: true },
];

describe('the steering rules in a kernel with ESP', () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.up();
    await steer(lab);
  });
  after(() => lab?.down());

  for (const tunnel of TUNNELS)
    test(`answers come to their shard, all else goes on: ${JSON.stringify(tunnel)}`, async (t) => {
      await lab.connect(tunnel);
      const shards = SHARD_PORTS.map((port) => new DatagramSocket(lab.hub, HUB.outer[4], port).bypass());
      const spoke = new DatagramSocket(lab.spoke, SPOKE.outer[4], SPOKE_PORT).bypass();
      t.after(async () => {
        for (const open of [...shards, spoke]) open.close();
        await lab.disconnect();
      });
      for (const [shard, socket] of shards.entries()) {
        const answer = informational(true, shard);
        spoke.send(answer, HUB.outer[4], IKE_PORT);
        assert.deepEqual(await socket.next(), answer);
      }
      // A request is charon's.
      spoke.send(informational(false, 0), HUB.outer[4], IKE_PORT);
      await sleep(QUIET_MS);
      for (const socket of shards) assert.equal(socket.take(), undefined);

      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
      await lab.rekey('spoke');
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
      for (const socket of shards) assert.equal(socket.take(), undefined);
    });

  test('with a tunnel from host to host an answer comes only to a socket that bypasses IPsec', async (t) => {
    await lab.connect({ version: 4, between: 'hosts', encapsulated: true });
    const [strict, lenient] = SHARD_PORTS.map((port) => new DatagramSocket(lab.hub, HUB.outer[4], port)) as [
      DatagramSocket,
      DatagramSocket,
    ];
    const spoke = new DatagramSocket(lab.spoke, SPOKE.outer[4], SPOKE_PORT).bypass();
    t.after(async () => {
      for (const open of [strict, lenient, spoke]) open.close();
      await lab.disconnect();
    });
    lenient.bypass();
    spoke.send(informational(true, 0), HUB.outer[4], IKE_PORT);
    spoke.send(informational(true, 1), HUB.outer[4], IKE_PORT);
    assert.deepEqual(await lenient.next(), informational(true, 1));
    await sleep(QUIET_MS);
    assert.equal(strict.take(), undefined);
  });
});
