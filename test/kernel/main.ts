/** Runs the tests in `inside/` on a kernel with ESP. `npm run test:kernel [-- file ...]`; exits with their code. */

import { globSync } from 'node:fs';
import { debianKernel } from './debian-kernel.ts';
import { whySkipped } from './packages.ts';
import { runInVm } from './vm.ts';

const ALL = 'test/kernel/inside/**/*.test.ts';
/** Takes as long as all others together. Where the processor is emulated a machine keeps one core busy: two at once take half the time. */
const LONGEST = 'test/kernel/inside/product.test.ts';
/** For everything, and for a test of it. */
const DEADLINE_MS = 1_200_000;
const TEST_MS = 330_000;

const skipped = whySkipped();
if (skipped) {
  process.stdout.write(`kernel tests skipped: ${skipped}\n`);
  process.exit();
}
const files = process.argv.slice(2);
// One process for all files: each would start for several seconds where the processor is emulated.
// What a failed test left open must not keep it.
const flags = [
  '--test',
  '--test-force-exit',
  '--test-isolation=none',
  '--test-reporter=spec',
  `--test-timeout=${TEST_MS}`,
];
const kernel = await debianKernel();
const others = globSync(ALL).filter((file) => file !== LONGEST);
const ended = await Promise.all(
  (files.length > 0 ? [files] : [[LONGEST], others]).map(async (some, n) => {
    // What is said by one is told as it comes, and then what the other had to say.
    const said: Buffer[] = [];
    const say = (output: Buffer) => (n === 0 ? process.stdout.write(output) : said.push(output));
    const code = await runInVm(kernel, [...flags, ...some], DEADLINE_MS, say).catch((error: Error) => {
      said.push(Buffer.from(`${error.message}\n`));
      return 1;
    });
    return { code, said };
  }),
);
for (const { said } of ended) for (const output of said) process.stdout.write(output);
process.exitCode = Math.max(...ended.map(({ code }) => code));
