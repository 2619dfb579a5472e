/** A clean stop: SAs go back to charon, each with the message id that charon continues with. */

import { setTimeout as sleep } from 'node:timers/promises';
import { isIkev1, type SaRecord } from './sa-book.ts';

/**
 * Longest wait for the node to give SAs up, and for charon to get them back, ms; and the additional time for each SA.
 */
const RELEASE_MS = 10_000;
const RELEASE_EACH_MS = 5;
const LOOK_MS = 20;

export type GiveBackContext = {
  /** Has the node give an SA up. */
  remove(record: SaRecord): void;
  /** By SPI pair, the first id that the node has not used, for each SA that it has given up; undefined if the node does not know it. */
  readonly released: ReadonlyMap<string, number | undefined>;
  /** Sets charon's counter. Resolves with false if the SA is gone. */
  unpark(record: SaRecord, nextId: number): Promise<boolean>;
  /** Answers on the SA are charon's again. */
  dropCare(record: SaRecord): void;
};

/** Gives back all parked SAs. Returns them, and those that stay parked. */
export async function giveBack(
  all: readonly SaRecord[],
  { remove, released, unpark, dropCare }: GiveBackContext,
): Promise<{ readonly parked: readonly SaRecord[]; readonly left: readonly SaRecord[] }> {
  const parked = all.filter((record) => record.parked);
  for (const record of all) remove(record);
  const releaseMs = RELEASE_MS + RELEASE_EACH_MS * parked.length;
  const deadline = performance.now() + releaseMs;
  while (parked.some(({ spi }) => !released.has(spi)) && performance.now() < deadline) await sleep(LOOK_MS);
  const back = new Set<SaRecord>();
  // charon ignores an id of 0; an SA that was never asked stays parked, and no answer can come for it.
  // IKEv1 has no counter that charon would go on with.
  const known = parked.filter((record) => isIkev1(record) || (released.get(record.spi) ?? 0) > 0);
  const settled = known.map(async (record) => {
    if (!(await unpark(record, released.get(record.spi) ?? 0))) return;
    back.add(record);
    dropCare(record);
  });
  await Promise.race([Promise.all(settled), sleep(releaseMs)]);
  return { parked, left: parked.filter((record) => !back.has(record)) };
}
