/** What a test needs of the machine it runs on. */

import { existsSync } from 'node:fs';

/**
 * Why a test cannot run here, as node:test's `skip`: a reason, or false if it can.
 * @param files that must be there, by the Debian packages that bring them
 * @throws Error in CI, where nothing is skipped
 */
export function skipUnless(
  files: Readonly<Record<string, readonly string[]>>,
  { root }: { root: boolean },
): string | false {
  const why = root && process.getuid?.() !== 0 ? 'needs root for network namespaces' : missing(files);
  if (why && process.env['CI']) throw new Error(`must run in CI: ${why}`);
  return why;
}

function missing(files: Readonly<Record<string, readonly string[]>>): string | false {
  const packages = Object.keys(files).filter((name) => !files[name]!.every((path) => existsSync(path)));
  return packages.length > 0 && `needs ${packages.join(' ')}`;
}
