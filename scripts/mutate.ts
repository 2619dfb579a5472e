/**
 * Puts each fault of mutations.ts into a copy of the project and runs the tests that must catch it. Exit code 1 names faults that no test
 * catches.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { MUTATIONS, type Mutation } from './mutations.ts';

const TESTS_MS = 120_000;

const copy = mkdtempSync(join(tmpdir(), 'dpd-mutate-'));
process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' }).trim().split('\n');
for (const file of files) {
  mkdirSync(join(copy, dirname(file)), { recursive: true });
  cpSync(file, join(copy, file));
}
symlinkSync(resolve('node_modules'), join(copy, 'node_modules'));

let survivors = 0;
for (const mutation of MUTATIONS) {
  const outcome = run(mutation);
  if (outcome !== 'caught') survivors++;
  process.stdout.write(`${outcome.padEnd(9)} ${mutation.fault} (${mutation.file})\n`);
}
process.stdout.write(`${MUTATIONS.length} faults, ${survivors} not caught\n`);
process.exit(survivors > 0 ? 1 : 0);

function run({ file, from, to, tests }: Mutation): 'caught' | 'SURVIVES' | 'NOT FOUND' {
  const path = join(copy, file);
  const text = readFileSync(path, 'utf8');
  if (text.split(from).length !== 2) return 'NOT FOUND';
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  const flags = ['--test', '--test-force-exit', `--test-timeout=${TESTS_MS}`, ...tests];
  const { status } = spawnSync(process.execPath, flags, { cwd: copy, stdio: 'ignore' });
  writeFileSync(path, text);
  return status === 0 ? 'SURVIVES' : 'caught';
}
