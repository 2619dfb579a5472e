/**
 * Makes `dist/`, the code as the npm package has it: JavaScript, since Node strips no types below node_modules. Types become blanks, so
 * that lines and columns in a trace are those of the source. Run by `npm pack`.
 */

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';

const ROOT = new URL('..', import.meta.url).pathname;
const DIST = join(ROOT, 'dist');
/** What runs, or is read while it runs. */
const PARTS = ['services', 'workers', 'proto/gen'];
/** A path in the code to another file of it. */
const RELATIVE = /(['"])(\.{1,2}\/[^'"\n]*)\.ts\1/g;
const IMPORTED = /(?:from|import\(|new URL\()\s*'(\.{1,2}\/[^'`\n]+)'/g;

rmSync(DIST, { recursive: true, force: true });
const files = PARTS.flatMap((part) =>
  readdirSync(join(ROOT, part), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.md$|\.d\.ts$/.test(entry.name))
    .map(({ parentPath, name }) => relative(ROOT, join(parentPath, name))),
);
for (const file of files) {
  const to = join(DIST, file.replace(/\.ts$/, '.js'));
  mkdirSync(dirname(to), { recursive: true });
  if (!file.endsWith('.ts')) {
    cpSync(join(ROOT, file), to);
    continue;
  }
  const code = stripTypeScriptTypes(readFileSync(join(ROOT, file), 'utf8')).replaceAll(RELATIVE, '$1$2.js$1');
  writeFileSync(to, code);
}
const { name, version, type } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, string>;
writeFileSync(join(DIST, 'package.json'), `${JSON.stringify({ name, version, type, private: true }, null, 2)}\n`);

for (const file of files) {
  const made = join(DIST, file.replace(/\.ts$/, '.js'));
  if (!made.endsWith('.js')) continue;
  for (const [, path] of readFileSync(made, 'utf8').matchAll(IMPORTED))
    if (!path!.includes('$') && !existsSync(resolve(dirname(made), path!))) throw new Error(`${made}: no ${path}`);
}
