/** `npm run fuzz -- --minutes M [--target NAME] [--seed S] [--inputs N]`: exit code 1 if an input did something that is not allowed. */

import { parseArgs } from 'node:util';
import { runTarget, TARGETS } from './run.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    target: { type: 'string' },
    seed: { type: 'string' },
    inputs: { type: 'string' },
  },
});
const names = values.target === undefined ? Object.keys(TARGETS) : [values.target];
if (names.some((name) => !Object.hasOwn(TARGETS, name))) {
  process.stderr.write(`--target: one of ${Object.keys(TARGETS).join(', ')}\n`);
  process.exit(2);
}
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
const limit =
  values.inputs === undefined
    ? { ms: (Number(values.minutes) * 60_000) / names.length }
    : { inputs: Number(values.inputs) };
let failed = false;
for (const name of names) {
  const { inputs, taken, failures } = runTarget(name, seed, limit);
  process.stdout.write(`${name} seed ${seed}, inputs ${inputs}, taken ${taken}, failures ${failures.length}\n`);
  for (const failure of failures)
    process.stderr.write(`--target ${name} --seed ${failure.seed} --inputs 1: ${failure.reason}\n`);
  failed ||= failures.length > 0;
}
process.exit(failed ? 1 : 0);
