/** One simulated run: turns of trouble and of quiet, each quiet one ending with everything well. */

import { FAULTS, LIFE } from './faults.ts';
import type { Random } from './random.ts';
import { World } from './world.ts';

export type RunResult = {
  readonly seed: number;
  readonly steps: number;
  readonly verdicts: number;
  readonly probes: number;
  /** What was violated, undefined if nothing was. */
  readonly violation: string | undefined;
};

/** Runs a seed for so many virtual hours, or to its first violation. */
export async function run(seed: number, hours: number, logLevel = 'silent'): Promise<RunResult> {
  const world = new World(seed, logLevel);
  const { random, time, checks } = world;
  const end = hours * 3_600_000;
  let violation: string | undefined;
  try {
    await world.start();
    while (time.now < end) {
      await trouble(world, random);
      await quiet(world);
    }
  } catch (error) {
    violation =
      (error as Error).name === 'Violation' ? (error as Error).message : ((error as Error).stack ?? String(error));
  }
  return { seed, steps: time.steps, verdicts: checks.verdicts, probes: checks.probes, violation };
}

/** Faults come and go, alone or together. */
async function trouble(world: World, random: Random): Promise<void> {
  const { time } = world;
  const until = time.now + random.between(60_000, 600_000);
  const undo = new Set<() => void>();
  const meanMs = random.pick([5_000, 15_000, 40_000]);
  while (time.now < until) {
    await time.runUntil(Math.min(until, time.now + random.between(0, 2 * meanMs)));
    if (random.chance(0.4)) LIFE[random.pick(Object.keys(LIFE))]!(world, random);
    else {
      const ends = FAULTS[random.pick(Object.keys(FAULTS))]!(world, random);
      if (ends) {
        const undoOnce = () => {
          if (!undo.delete(undoOnce)) return;
          time.settled();
          ends.undo();
        };
        undo.add(undoOnce);
        time.at(time.now + ends.afterMs, undefined, undoOnce);
      }
    }
    time.settled();
  }
  for (const undoNow of undo) undoNow();
  for (const { process } of world.nodes) time.resume(process);
  for (const { tasks } of world.nodes) for (const task of tasks) task.goOn();
}

/** Nothing goes wrong any more: in time everything is well. */
async function quiet(world: World): Promise<void> {
  const { time, random } = world;
  await time.runUntil(time.now + 3 * world.detectionMs + 150_000);
  world.checks.converged(await world.problems());
  // Spokes still come and go meanwhile: a spoke that dies now is found in time.
  for (const site of world.spokes.sites) if (random.chance(0.3)) site.up.fill(true);
  world.updateReach();
}
