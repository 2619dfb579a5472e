/** One run of `dpdctl`: the cluster, and where to write. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { Cluster } from './cluster.ts';
import { CtlError, Exit } from './exit.ts';
import { Output } from './output/output.ts';
import { readConnection } from './settings.ts';

export type Session = {
  readonly cluster: Cluster;
  readonly out: Output;
  /** Aborted on SIGINT and SIGTERM: what runs on ends then. */
  readonly signal: AbortSignal;
};

/** What a command does. @param args its arguments as commander parsed them */
type Work<Options> = (session: Session, options: Options, args: readonly string[]) => Promise<void>;

/** Makes a command's action of its work: again and again with `--watch`. */
export function run<Options>(work: Work<Options>): (...all: unknown[]) => Promise<void> {
  return async (...all) => {
    const command = all.at(-1) as Command;
    const options = command.optsWithGlobals();
    const coloured = process.stdout.isTTY === true && options['color'] !== false && !process.env['NO_COLOR'];
    const stop = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
    const session: Session = {
      cluster: new Cluster(readConnection(options, process.env)),
      out: new Output(process.stdout, options['json'] === true, coloured),
      signal: stop.signal,
    };
    const everyMs = watchInterval(options['watch']);
    try {
      do {
        if (everyMs !== undefined) await session.out.clear();
        await work(session, options as Options, command.processedArgs as string[]);
        if (everyMs !== undefined) await sleep(everyMs, undefined, { signal: stop.signal }).catch(() => {});
      } while (everyMs !== undefined && !stop.signal.aborted);
      tellUnreached(session.cluster);
    } finally {
      session.cluster.close();
    }
  };
}

/** Adds `--watch` to a command. */
export function withWatch(command: Command): Command {
  return command.option('-w, --watch [seconds]', 'again every so many seconds [2]');
}

function watchInterval(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const seconds = value === true ? 2 : Number(value);
  if (!(seconds >= 0.1 && seconds <= 3_600))
    throw new CtlError(Exit.USAGE, `watch=${value}: must be 0.1 to 3,600 seconds`);
  return seconds * 1_000;
}

function tellUnreached({ unreached }: Cluster): void {
  if (unreached.size === 0) return;
  const nodes = [...unreached].map(([id, why]) => (why.startsWith(id) ? why : `${id}: ${why}`));
  throw new CtlError(Exit.UNREACHABLE, `incomplete: ${nodes.join('; ')}`);
}
