/** Checks the shape of the house: few files a folder, a note in each, a map that can be read. On exit code 1 it names the faults. */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Source files of its own that a folder may have. */
const MOST_FILES = 14;
const MAP = 'ARCHITECTURE.md';
const MAP_LINES = 200;
/** Folders that need a note: those of the product; tests mirror them. */
const ROOMS = /^(workers|services|loadtest|scripts)(\/|$)/;

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' }).trim().split('\n');
const sources = files.filter((file) => /\.(ts|js|lua|sh|java)$/.test(file) && !file.startsWith('proto/gen/'));
const folders = Map.groupBy(
  sources.filter((file) => existsSync(file)),
  (file) => dirname(file),
);
const faults = [...folders].flatMap(([folder, own]) => [
  ...(own.length > MOST_FILES ? [`${folder}: ${own.length} source files, ${MOST_FILES} at most`] : []),
  ...(ROOMS.test(folder) && !existsSync(`${folder}/README.md`)
    ? [`${folder}: no README.md says what belongs there`]
    : []),
]);
const lines = readFileSync(MAP, 'utf8').trimEnd().split('\n').length;
if (lines > MAP_LINES) faults.push(`${MAP}: ${lines} lines, ${MAP_LINES} at most`);
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exit(faults.length > 0 ? 1 : 0);
