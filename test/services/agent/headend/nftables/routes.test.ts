import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Routes } from '../../../../../services/agent/headend/nftables/routes.ts';
import { inNewNetwork } from './network.ts';

const ROUTES = new URL('../../../../../services/agent/headend/nftables/routes.ts', import.meta.url).pathname;

test('probes that would leave by another uplink than the hub’s own packets are told from those that would not', {
  skip: inNewNetwork.skip,
}, () => {
  const network = `
    for n in a b node; do ip link add up-$n type veth peer name far-$n; ip link set up-$n up; ip link set far-$n up; done
    ip addr add 192.0.2.1/24 dev up-a && ip addr add 198.51.100.1/24 dev up-b && ip addr add 10.9.0.1/24 dev up-node
    ip route add default via 198.51.100.254
    ip route add default via 192.0.2.254 table 100 && ip rule add from 192.0.2.1 table 100
    echo 1 > /proc/sys/net/ipv4/ip_forward`;
  const ask = (local: string, spoke: string) => `await leavesAsHubs('${local}', '${spoke}', '10.9.0.2', 'up-node')`;
  const said = inNewNetwork(
    `${network}\n exec ${process.execPath} --input-type=module -`,
    `import { leavesAsHubs } from '${ROUTES}';
     console.log(JSON.stringify([${[
       ask('192.0.2.1', '203.0.113.9'),
       ask('198.51.100.1', '203.0.113.9'),
       ask('192.0.2.1', '192.0.2.77'),
       ask('203.0.113.1', '203.0.113.9'),
     ]}]))`,
  );
  // By the other uplink; by its own; to a spoke next door; from an address that the kernel has not.
  assert.deepEqual(JSON.parse(said), [false, true, true, true]);
});

test('a route is looked at once it is asked for, and again for as long as it is: what changed is told', async () => {
  const routes = new Map([['192.0.2.1 203.0.113.9', true]]);
  const looks: string[] = [];
  const changes: string[] = [];
  const known = new Routes(
    async (local, spoke) => {
      looks.push(`${local} ${spoke}`);
      return routes.get(`${local} ${spoke}`) ?? false;
    },
    (local, spoke, asHubs) => changes.push(`${local} ${spoke} ${asHubs}`),
  );
  assert.equal(known.leaveAsHubs('192.0.2.1', '203.0.113.9'), false, 'taken for right before it is known');
  assert.equal(known.leaveAsHubs('192.0.2.1', '203.0.113.9'), false);
  await null;
  assert.deepEqual(changes, ['192.0.2.1 203.0.113.9 true']);
  assert.equal(known.leaveAsHubs('192.0.2.1', '203.0.113.9'), true);
  assert.equal(looks.length, 1);
  // The uplink fails.
  routes.clear();
  await known.refresh();
  assert.deepEqual(changes.slice(1), ['192.0.2.1 203.0.113.9 false']);
  assert.equal(known.leaveAsHubs('192.0.2.1', '203.0.113.9'), false);
  await known.refresh();
  // It was not requested since, so it is forgotten.
  await known.refresh();
  assert.equal(looks.length, 3);
});
