import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../../eventually.ts';
import { Lab } from '../lab.ts';
import type { Namespace } from '../netns.ts';
import { addNodeHost, HUB, NODE } from '../network.ts';
import { Product } from '../product.ts';
import { CONNECTION, type Tunnel } from '../tunnel.ts';
import { Wire } from '../wire.ts';

const PINGS = 3;
const PROBES = 2;
const VERDICT_MS = 150_000;
const LOOK_MS = 200;

/** In the last the node's own address is in the tunnel, too. */
const TUNNELS: readonly Tunnel[] = [
  { version: 4, between: 'hosts', encapsulated: true },
  { version: 4, between: 'hosts', encapsulated: false },
  { version: 4, between: 'spoke and all', encapsulated: true },
];

describe('a node on a host beside a hub on real ESP', () => {
  let lab: Lab;
  let node: Namespace;
  let product: Product;
  before(async () => {
    lab = await Lab.up();
    node = await addNodeHost(CONNECTION, lab.hub);
    const agentFlags = ['--node-address', NODE.address, '--node-interface', NODE.device];
    product = new Product(lab, { nodeHost: node, agentFlags });
    await product.serve();
  });
  after(async () => {
    await product?.stop();
    await lab?.down();
    await node?.remove();
  });

  for (const tunnel of TUNNELS)
    test(`its probes leave beside the tunnel, as the hub’s IKE: ${JSON.stringify(tunnel)}`, async (t) => {
      const wire = new Wire(lab.hub, HUB.device);
      t.after(async () => {
        if (t.error) process.stdout.write(product.log);
        wire.close();
        await lab.disconnect();
      });
      await lab.connect(tunnel);
      await product.answered(PROBES);
      wire.take();
      await product.answered((await product.peer())!.probesAnswered + PROBES);
      const kinds = wire.take().map(({ kind }) => kind);
      assert.deepEqual(new Set(kinds), new Set(['ike']), 'what leaves while there is no traffic');
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
    });

  test('a dead spoke has its verdict, and its SA goes', async (t) => {
    t.after(() => {
      if (t.error) process.stdout.write(product.log);
    });
    await lab.connect(TUNNELS.at(-1)!);
    await product.answered(PROBES);
    product.watch();
    await lab.killSpoke();
    await eventually('the verdict comes', VERDICT_MS, () => product.verdicts.length > 0, LOOK_MS);
    await eventually(
      'charon has no SA left',
      VERDICT_MS,
      async () => (await lab.hubCharon.sas()).length === 0,
      LOOK_MS,
    );
  });
});
