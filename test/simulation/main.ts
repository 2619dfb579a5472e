/**
 * `npm run simulate -- --seed S --hours H`: one seed, with its log. `--seeds FIRST:COUNT --hours H`: many, on all cores.
 * Exit code 1 if anything was violated; a seed that fails repeats exactly.
 */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { flag, integer, readSettings, runMain } from '../../services/base/settings.ts';
import { SettingsError } from '../../workers/base/errors.ts';
import type { RunResult } from './run.ts';
import { run } from './run.ts';

const SETTINGS = {
  seed: { env: 'SIMULATE_SEED', help: 'one seed', fallback: '-1', parse: integer(-1, 2 ** 31 - 1) },
  seeds: { env: 'SIMULATE_SEEDS', help: 'FIRST:COUNT, instead of one', fallback: '', parse: parseSeeds },
  hours: { env: 'SIMULATE_HOURS', help: 'virtual hours of each seed', fallback: '1', parse: integer(1, 100_000) },
  log: { env: 'SIMULATE_LOG', help: "what nodes and agents log: pino's levels", fallback: 'silent', parse: String },
  threads: { env: 'SIMULATE_THREADS', help: 'threads; 0: one per core', fallback: '0', parse: integer(0, 256) },
  json: {
    env: 'SIMULATE_JSON',
    help: 'last line of stdout is one JSON object',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
} as const;

await runMain(async () => {
  const settings = readSettings('npm run simulate -- [settings]: a cluster in virtual time, with faults', SETTINGS);
  const fresh = Math.floor(Math.random() * 2 ** 30);
  const [first, count] = settings.seeds ?? [settings.seed < 0 ? fresh : settings.seed, 1];
  const results: RunResult[] = [];
  const started = performance.now();
  const report = (result: RunResult) => {
    results.push(result);
    if (result.violation) process.stderr.write(`seed ${result.seed}: ${result.violation}\n`);
    else if (results.length % 50 === 0) process.stderr.write(`${results.length} of ${count} seeds\n`);
  };
  if (count === 1) report(await run(first, settings.hours, settings.log));
  else await onThreads(settings.threads || availableParallelism(), first, count, settings.hours, report);
  const sum = (read: (result: RunResult) => number) => results.reduce((total, result) => total + read(result), 0);
  const violations = results.filter(({ violation }) => violation !== undefined);
  const summary = {
    seeds: results.length,
    hours: settings.hours * results.length,
    steps: sum(({ steps }) => steps),
    probes: sum(({ probes }) => probes),
    verdicts: sum(({ verdicts }) => verdicts),
    violations: violations.length,
    failed_seeds: violations.map(({ seed }) => seed),
    wall_s: Math.round((performance.now() - started) / 1_000),
  };
  if (settings.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  else
    process.stdout.write(
      `${Object.entries(summary)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ')}\n`,
    );
  process.exit(violations.length > 0 ? 1 : 0);
});

/** Seeds in turn on several threads. */
async function onThreads(
  threads: number,
  first: number,
  count: number,
  hours: number,
  report: (result: RunResult) => void,
): Promise<void> {
  let next = first;
  await Promise.all(
    Array.from({ length: Math.min(threads, count) }, async () => {
      const worker = new Worker(new URL('./worker.ts', import.meta.url));
      while (next < first + count) {
        const answer = new Promise<RunResult>((resolve, reject) => {
          worker.removeAllListeners();
          worker.once('message', resolve);
          worker.once('error', reject);
        });
        worker.postMessage({ seed: next++, hours });
        report(await answer);
      }
      await worker.terminate();
    }),
  );
}

function parseSeeds(text: string): readonly [first: number, count: number] | undefined {
  if (text === '') return undefined;
  const [, first, count] = /^(\d+):(\d+)$/.exec(text) ?? [];
  if (first === undefined || Number(count) < 1) throw new SettingsError('must be FIRST:COUNT');
  return [Number(first), Number(count)];
}
