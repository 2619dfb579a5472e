/** Files that are read again when they change, so that nothing has to be restarted. */

import { unwatchFile, watchFile } from 'node:fs';

/** How often a file is looked at, ms. */
const LOOK_MS = 2_000;

/** Calls back after each change of one of these files. Returns the function that stops this. Does not keep the process alive. */
export function watchFiles(paths: readonly string[], changed: () => void): () => void {
  for (const path of paths) watchFile(path, { interval: LOOK_MS, persistent: false }, changed);
  return () => {
    for (const path of paths) unwatchFile(path, changed);
  };
}
