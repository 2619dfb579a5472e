/** What `npm run` starts, for programs that start it without npm. */

import { readFileSync } from 'node:fs';

const { scripts } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  scripts: Record<string, string>;
};

/** What a script that runs Node puts into the environment, and what it gives Node: its flags, and the program. */
export function npmScript(name: string): { readonly env: Record<string, string>; readonly args: readonly string[] } {
  const words = scripts[name]!.split(' ');
  const node = words.indexOf('node');
  const set = words.slice(0, node).filter((word) => word.includes('='));
  const env = Object.fromEntries(set.map((word) => word.split('=') as [string, string]));
  return { env, args: words.slice(node + 1) };
}
