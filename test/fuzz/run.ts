/** Runs a fuzz target: input after input, each from its own seed, so that a failing input can be repeated alone. */

import { Random } from '../simulation/random.ts';
import { fuzzHa, fuzzNetlink, fuzzVici } from './targets/charon.ts';
import { fuzz as fuzzDatagrams } from './targets/datagrams.ts';
import { fuzz as fuzzPeers } from './targets/peers.ts';
import { fuzzRecords, fuzzTakeover } from './targets/redis.ts';
import { fuzz as fuzzUpserts } from './targets/upserts.ts';

/** Gives one input to a parser. Returns whether it passed the first check; throws if the result is wrong. */
type Target = (random: Random) => boolean;

export const TARGETS: Readonly<Record<string, Target>> = {
  datagrams: fuzzDatagrams,
  upserts: fuzzUpserts,
  ha: fuzzHa,
  vici: fuzzVici,
  netlink: fuzzNetlink,
  records: fuzzRecords,
  takeover: fuzzTakeover,
  peers: fuzzPeers,
};

/** Longest time for one input, ms, on a busy machine. */
const SLOW_MS = 2_000;
/** Maximum number of failures reported for one target. */
const MOST_FAILURES = 5;

export type Outcome = {
  readonly target: string;
  inputs: number;
  /** Number of inputs that passed the first check. */
  taken: number;
  readonly failures: { readonly seed: number; readonly reason: string }[];
};

/** Runs a target for a time, or for so many inputs. */
export function runTarget(target: string, seed: number, { ms = Infinity, inputs = Infinity }): Outcome {
  const fuzz = TARGETS[target]!;
  const outcome: Outcome = { target, inputs: 0, taken: 0, failures: [] };
  const end = performance.now() + ms;
  for (; outcome.inputs < inputs && outcome.failures.length < MOST_FAILURES; outcome.inputs++) {
    const begun = performance.now();
    if (begun > end) break;
    const own = seed + outcome.inputs;
    try {
      if (fuzz(new Random(own))) outcome.taken++;
      const took = performance.now() - begun;
      if (took > SLOW_MS) outcome.failures.push({ seed: own, reason: `took ${Math.round(took)} ms` });
    } catch (error) {
      outcome.failures.push({ seed: own, reason: String((error as Error).stack) });
    }
  }
  return outcome;
}
