#!/usr/bin/env node
/** `npm run dpdctl`: the cluster from a shell. */

import { CommanderError } from 'commander';
import { SettingsError } from '../../workers/base/errors.ts';
import { CtlError, Exit, fromService, isServiceError } from './exit.ts';
import { safe } from './output/text.ts';
import { buildProgram } from './program.ts';

// A reader that has seen enough, like head, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? Exit.DONE : Exit.FAILED),
);

try {
  await buildProgram().parseAsync();
} catch (error) {
  process.exitCode = tell(error);
}

/** Tells the error on one line. Returns the exit code. */
function tell(error: unknown): Exit {
  // commander has written it already; help is no failure.
  if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.DONE : Exit.USAGE;
  const known = isServiceError(error) ? fromService(error, 'cluster') : error;
  process.stderr.write(`dpdctl: ${safe((known as Error).message)}\n`);
  if (known instanceof CtlError) return known.exit;
  return known instanceof SettingsError ? Exit.USAGE : Exit.FAILED;
}
