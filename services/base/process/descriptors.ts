/** Whether the process may have as many file descriptors as it will need. */

import { readFileSync } from 'node:fs';

/** For watches, each with a connection to Redis, files, threads and clients. */
const SPARE = 512;

/**
 * A warning for an operator if the limit of this process is too low, undefined if it is not, or cannot be read.
 * @param sockets that the program's settings let it have, at most
 * @param limits the text of /proc/self/limits
 */
export function lowDescriptorLimit(sockets: number, limits = readLimits()): string | undefined {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
  const needed = sockets + SPARE;
  if (soft === undefined || Number(soft) >= needed) return undefined;
  return `${soft} file descriptors allowed, but up to ${needed} needed: raise the limit (ulimit -n, LimitNOFILE=)`;
}

function readLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}
