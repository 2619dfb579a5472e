import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../../eventually.ts';
import { Lab } from '../lab.ts';
import { Product } from '../product.ts';
import type { Tunnel } from '../tunnel.ts';
import { plutoSpoke } from './pluto-spoke.ts';

const TUNNEL: Tunnel = { version: 4, between: 'sites', encapsulated: true };
const PINGS = 3;
const PROBES = 3;
const VERDICT_MS = 150_000;
const LOOK_MS = 200;

describe('a Libreswan spoke at a strongSwan hub', () => {
  let lab: Lab;
  let product: Product;
  before(async () => {
    lab = await Lab.up(plutoSpoke);
    product = new Product(lab);
    await product.serve();
  });
  after(async () => {
    await product?.stop();
    await lab?.down();
  });

  test('answers probes, also after either side has rekeyed; dead it has its verdict; back it is watched', async (t) => {
    t.after(async () => {
      if (t.error)
        console.log(
          await lab.spoke.run('sh', '-c', `tail -60 ${lab.directory}/spoke*/pluto.log`),
          lab.hubCharon.log().slice(-3000),
        );
      if (t.error) process.stdout.write(product.log);
    });
    await lab.connect(TUNNEL);
    await product.answered(PROBES);
    product.watch();
    assert.equal(await lab.ping(TUNNEL, PINGS), PINGS);
    for (const by of ['hub', 'spoke'] as const) {
      await lab.rekey(by);
      await product.answered(PROBES);
      assert.equal(await lab.ping(TUNNEL, PINGS), PINGS, `after the ${by} has rekeyed`);
    }
    assert.equal(product.verdicts.length, 0, 'the living spoke was declared dead');

    await lab.killSpoke();
    await eventually('the verdict comes', VERDICT_MS, () => product.verdicts.length > 0, LOOK_MS);
    await eventually('charon has no SA', VERDICT_MS, async () => (await lab.hubCharon.sas()).length === 0, LOOK_MS);

    await lab.reviveSpoke();
    await lab.connect(TUNNEL);
    await product.answered(PROBES);
    assert.equal(product.verdicts.length, 1, 'another verdict');
  });
});
