/** Runs the tests in `inside/` on a kernel with ESP. `npm run test:kernel [-- file ...]`; exits with their code. */

import { debianKernel } from './debian-kernel.ts';
import { getLibreswan } from './libreswan.ts';
import { whySkipped } from './packages.ts';
import { runInVm } from './vm.ts';

const ALL = 'test/kernel/inside/**/*.test.ts';
/** For everything, and for a test of it. */
const DEADLINE_MS = 1_800_000;
const TEST_MS = 330_000;

const skipped = whySkipped();
if (skipped) {
  process.stdout.write(`kernel tests skipped: ${skipped}\n`);
  process.exit();
}
const files = process.argv.slice(2);
// One process for all files: each would start for several seconds where the processor is emulated. And one machine: with
// two at once on two cores no verdict came within 150 s.
// What a failed test left open must not keep it.
const flags = [
  '--test',
  '--test-force-exit',
  '--test-isolation=none',
  '--test-reporter=spec',
  `--test-timeout=${TEST_MS}`,
];
await getLibreswan();
process.exitCode = await runInVm(await debianKernel(), [...flags, ...(files.length > 0 ? files : [ALL])], DEADLINE_MS);
