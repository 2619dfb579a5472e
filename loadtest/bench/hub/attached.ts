/** A hub with the cluster attached: until all its SAs are watched, spokes that rekey, and what is left of them in the end. */

import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../../test/eventually.ts';
import { round } from '../measure.ts';
import { kill } from './deaths.ts';
import type { Running } from './lab.ts';
import type { HubOptions } from './options.ts';
import type { Product } from './product.ts';

/** After the last SA is up, until the daemons do nothing but what is measured, ms. */
export const SETTLE_MS = 12_000;
/** Longest wait until every SA is parked and has answered, ms. */
const WATCHED_MS = 300_000;
const LOOK_MS = 500;

/** Waits until every SA is parked and has answered, s since the agent was started. */
export async function untilWatched(product: Product, sas: number): Promise<number> {
  const started = performance.now();
  let progress = { held: 0, parked: 0, answered: 0 };
  try {
    await eventually(
      'every SA is parked and has answered',
      WATCHED_MS,
      async () => {
        if (product.agentEnded) throw new Error('the agent has ended');
        progress = await product.progress();
        return progress.parked >= sas && progress.answered >= sas;
      },
      LOOK_MS,
    );
  } catch (error) {
    const lines = product.complaints().slice(0, 20).join('\n');
    throw new Error(`${(error as Error).message}: ${JSON.stringify({ sas, ...progress })}\n${lines}`);
  }
  return round((performance.now() - started) / 1_000);
}

/** What was watched comes to its end: spokes die, and what hub and programs had to complain of is told. */
export async function conclude(running: Running, product: Product, { sas, kill: deaths }: HubOptions) {
  const verdicts = product.verdicts.length;
  const lost = sas - (await settledSas(running, sas));
  if (deaths > 0) say(`${deaths} spokes die`);
  const died = deaths > 0 ? await kill(running, product) : {};
  const complaints = [...product.complaints(), ...running.hub.complaints()];
  for (const line of complaints.slice(0, 20)) say(line);
  return { verdicts, lost_sas: lost, ...died, complaints: complaints.length };
}

/** Living spokes rekey their IKE SAs, so many a second, until stopped. */
export function startRekeying({ living }: Running, product: Product, perSecond: number) {
  let rekeyed = 0;
  let refused = 0;
  if (perSecond === 0) return { stop: async () => ({}) };
  const timer = setInterval(() => {
    living.rekeyNext().then(
      () => rekeyed++,
      () => refused++,
    );
  }, 1_000 / perSecond);
  return {
    stop: async () => {
      clearInterval(timer);
      await sleep(SETTLE_MS);
      const { held, parked } = await product.progress();
      return { rekeyed, rekeys_refused: refused, unparked_after_rekeys: held - parked };
    },
  };
}

/** SAs that hub and spokes have both, once rekeyings have come to their end. */
async function settledSas({ hub: charon, spokes }: Running, sas: number): Promise<number> {
  const count = async () => {
    const [there, ...here] = await Promise.all([charon, ...spokes].map((daemon) => daemon.ikeSas()));
    return Math.min(
      there!,
      here.reduce((sum, n) => sum + n, 0),
    );
  };
  await eventually('no SA is missing', SETTLE_MS, async () => (await count()) === sas, LOOK_MS).catch(() => {});
  return count();
}

export function say(text: string): void {
  process.stderr.write(`hub: ${text}\n`);
}
