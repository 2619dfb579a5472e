/** Files that are read again when they change, and at a SIGHUP, so that nothing has to be restarted. */

import { unwatchFile, watchFile } from 'node:fs';

/** How often a file is looked at, ms. */
const LOOK_MS = 2_000;

/**
 * Calls back after each change of one of these files, and when a reload is asked for. Returns the function that stops this. Does not
 * keep the process alive.
 */
export function watchFiles(paths: readonly string[], changed: () => void): () => void {
  if (paths.length === 0) return () => {};
  // Not with the signal's name as an argument.
  const reload = () => changed();
  for (const path of paths) watchFile(path, { interval: LOOK_MS, persistent: false }, changed);
  process.on('SIGHUP', reload);
  return () => {
    for (const path of paths) unwatchFile(path, changed);
    process.off('SIGHUP', reload);
  };
}
