/** Spokes that die at once: whether they, and no others, get their verdict, how late, and when the hub has deleted their SAs. */

import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../../test/eventually.ts';
import { round } from '../measure.ts';
import type { Running } from './lab.ts';
import type { Product } from './product.ts';

/** Longest wait for the hub to have torn down all of them, ms. */
const TORN_DOWN_MS = 180_000;
/** Verdicts that ought not to come have so long, ms: as long as a peer may be silent. */
const AFTER_MS = 25_000;

/** Freezes the mortal spokes. */
export async function kill({ hub, mortal, spokes }: Running, product: Product): Promise<Record<string, number>> {
  const before = await hub.ikeSas();
  spokes[1]!.freeze();
  const died = Date.now();
  let down = true;
  await eventually(
    'all SAs of dead spokes are gone',
    TORN_DOWN_MS,
    async () => (await hub.ikeSas()) <= before - mortal.size,
    50,
  ).catch(() => {
    down = false;
  });
  const tornDown = Date.now();
  await sleep(AFTER_MS);
  const dead = product.verdicts.filter(({ verdict }) => mortal.has(verdict.peerId));
  const late = dead
    .map(({ verdict, receivedUnixMs }) => receivedUnixMs - Number(verdict.history!.earliestUnixMs))
    .sort((a, b) => a - b);
  const lastVerdict = Math.max(died, ...dead.map(({ receivedUnixMs }) => receivedUnixMs));
  return {
    killed: mortal.size,
    killed_verdicts: new Set(dead.map(({ verdict }) => verdict.peerId)).size,
    false_verdicts: product.verdicts.length - dead.length,
    late_p50_ms: late[late.length >> 1] ?? Number.NaN,
    late_max_ms: late.at(-1) ?? Number.NaN,
    last_verdict_s: round((lastVerdict - died) / 1_000),
    all_torn_down_s: down ? round((tornDown - died) / 1_000) : Number.NaN,
    torn_down_too_many: before - mortal.size - (await hub.ikeSas()),
  };
}
