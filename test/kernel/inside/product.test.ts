import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { XfrmSas } from '../../../services/agent/headend/xfrm/xfrm-sas.ts';
import { eventually } from '../../eventually.ts';
import { Lab } from './lab.ts';
import { POLICY, Product } from './product.ts';
import type { Tunnel } from './tunnel.ts';

/** All between the hosts belongs in the tunnel, but IKE, and so probes and their answers. Without UDP around ESP IKE stays on port 500. */
const TUNNELS: Readonly<Record<string, Tunnel>> = {
  'IPv4, IKE on port 4500': { version: 4, between: 'hosts', encapsulated: true },
  'IPv4, IKE on port 500': { version: 4, between: 'hosts', encapsulated: false },
  'IPv6, IKE on port 4500': { version: 6, between: 'hosts', encapsulated: true },
  'IPv6, IKE on port 500': { version: 6, between: 'hosts', encapsulated: false },
};
const PINGS = 3;
/** Of pings in a row, five a second: several intervals long. */
const TRAFFIC_PINGS = 50;
const PROBES = 2;
const VERDICT_MS = 150_000;
const LOOK_MS = 200;
const DETECTION_MS = POLICY.intervalMs + POLICY.retries * POLICY.retryIntervalMs;

describe('a spoke on real ESP', () => {
  let lab: Lab;
  let sas: XfrmSas;
  let product: Product;
  let failed = false;
  before(async () => {
    lab = await Lab.up();
    sas = lab.hub.enter(() => XfrmSas.open())!;
    product = new Product(lab);
    await product.serve();
  });
  after(async () => {
    if (failed) process.stdout.write(product.log);
    sas?.close();
    await product?.stop();
    await lab?.down();
  });

  for (const [name, tunnel] of Object.entries(TUNNELS))
    test(`${name}: watched, rekeyed by the hub, dead and torn down, back again`, async (t) => {
      t.after(() => {
        failed ||= t.error !== null;
      });
      await lab.connect(tunnel);
      await product.answered(PROBES);
      product.watch();
      const verdicts = product.verdicts.length;
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);

      // A request of charon's own, which goes through the shard.
      await lab.rekey('hub');
      await product.answered(PROBES);
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
      assert.equal(product.verdicts.length, verdicts, 'the living spoke was declared dead');

      await lab.killSpoke();
      await eventually('the verdict comes', VERDICT_MS, () => product.verdicts.length > verdicts, LOOK_MS);
      const history = product.verdicts[verdicts]!.history!;
      assert(Date.now() - Number(history.lastEvidenceUnixMs) >= DETECTION_MS - 2, 'the verdict came before its time');
      await eventually('charon has no SA', VERDICT_MS, async () => (await lab.hubCharon.sas()).length === 0, LOOK_MS);
      assert.equal(sas.list()!.count, 0, 'the kernel has no SA left');

      await lab.reviveSpoke();
      await lab.connect(tunnel);
      assert.equal(await lab.ping(tunnel, PINGS), PINGS);
      await product.answered(PROBES);
      assert.equal(product.verdicts.length, verdicts + 1, 'another verdict');
      await lab.disconnect();
    });

  test('is asked when it is quiet, and not when there is traffic', async (t) => {
    t.after(() => {
      failed ||= t.error !== null;
    });
    const tunnel = TUNNELS['IPv4, IKE on port 4500']!;
    await lab.connect(tunnel);
    await product.answered(PROBES);
    const quiet = (await product.peer())!;
    assert.equal(await lab.ping(tunnel, TRAFFIC_PINGS), TRAFFIC_PINGS);
    const busy = (await product.peer())!;
    const probes = busy.probesSent - quiet.probesSent;
    assert(probes <= 2, `${probes} probes while there was traffic`);
    await product.answered(busy.probesAnswered + PROBES);
  });
});
