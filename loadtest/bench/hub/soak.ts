/** A hub whose SAs come up while the cluster takes it over, watched for minutes while spokes rekey; then some die. */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Result, round } from '../measure.ts';
import { conclude, say, startRekeying, untilWatched } from './attached.ts';
import type { HubLab } from './lab.ts';
import type { HubOptions } from './options.ts';
import { Product } from './product.ts';

const MINUTE_MS = 60_000;

export async function soak(lab: HubLab, options: HubOptions): Promise<Result> {
  let product: Product | undefined;
  try {
    say('bringing SAs up, the agent starting meanwhile');
    const began = performance.now();
    const running = await lab.run({
      dpdS: 0,
      ha: true,
      hubUp: async (hub) => {
        product = await Product.start(lab.ns('hub'), lab.directory);
        product.startAgent(hub.viciSocket);
      },
    });
    const upS = round((performance.now() - began) / 1_000);
    const watchedS = await untilWatched(product!, options.sas);
    product!.watchVerdicts();
    say(`all up after ${upS} s, all watched ${watchedS} s later; ${options.soak} minutes of probing`);
    const before = await product!.counters();
    const rekeying = startRekeying(running, product!, options.rekey);
    for (let minute = 0; minute < options.soak; minute++) {
      await sleep(MINUTE_MS);
      const { probesAnswered } = await product!.counters();
      const answered = probesAnswered - before.probesAnswered;
      say(`minute ${minute + 1}: ${answered} probes answered, ${product!.verdicts.length} verdicts`);
    }
    const rekeyed = await rekeying.stop();
    const after = await product!.counters();
    const end = await conclude(running, product!, options);
    return {
      sas: options.sas,
      up_s: upS,
      watched_after_s: watchedS,
      answered: after.probesAnswered - before.probesAnswered,
      ...rekeyed,
      ...end,
      // Verdicts for each that died: 1, or somebody was missed or killed.
      baseline: options.kill,
      ratio: round(product!.verdicts.length / options.kill),
    };
  } finally {
    await product?.stop();
  }
}
