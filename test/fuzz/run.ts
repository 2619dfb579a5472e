/** Runs what is fuzzed: input after input, each from a seed of its own, so that one that fails is repeated alone. */

import { Random } from '../simulation/random.ts';
import { fuzzHa, fuzzNetlink, fuzzVici } from './targets/charon.ts';
import { fuzz as fuzzDatagrams } from './targets/datagrams.ts';
import { fuzz as fuzzPeers } from './targets/peers.ts';
import { fuzzRecords, fuzzTakeover } from './targets/redis.ts';
import { fuzz as fuzzUpserts } from './targets/upserts.ts';

/** Gives one input to a parser. Returns whether it got past the first look; throws if what comes of it is wrong. */
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

/** Longest time that one input may take, ms: with the machine busy otherwise. */
const SLOW_MS = 2_000;
/** Failures told of one target. */
const MOST_FAILURES = 5;

export type Outcome = {
  readonly target: string;
  inputs: number;
  /** Of these, those that got past the first look. */
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
