/** Asks before something is done that is not undone easily. */

import { createInterface } from 'node:readline/promises';
import { CtlError, Exit } from './exit.ts';

/** Throws CtlError unless the person at the terminal says yes; `yes` says it beforehand. */
export async function confirm(what: string, yes: boolean | undefined): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY) throw new CtlError(Exit.NOT_CONFIRMED, `${what}: say --yes; nothing was done`);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${what}? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new CtlError(Exit.NOT_CONFIRMED, 'nothing was done');
  } finally {
    terminal.close();
  }
}
