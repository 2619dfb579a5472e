/** What processes have cost so far, as the kernel accounts it. */

import { readdirSync, readFileSync } from 'node:fs';

/** Kernel clock ticks a second, as /proc reports CPU time. */
const TICKS_PER_S = 100;

type Stat = { readonly parent: number; readonly own: number; readonly reaped: number };

/** User and system CPU time of a process, s. */
export function ownCpuSeconds(pid: number): number {
  return readStat(pid)?.own ?? 0;
}

/** CPU time of all descendants of a process, running or ended, s. */
export function childrenCpuSeconds(pid: number): number {
  const stats = new Map<number, Stat>();
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? readStat(Number(name)) : undefined;
    if (stat) stats.set(Number(name), stat);
  }
  const below = (parent: number): number =>
    [...stats].reduce(
      (sum, [child, stat]) => (stat.parent === parent ? sum + stat.own + stat.reaped + below(child) : sum),
      0,
    );
  return (stats.get(pid)?.reaped ?? 0) + below(pid);
}

/** Resident memory, bytes. */
export function rssBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

/** Undefined if there is no such process any more. */
function readStat(pid: number): Stat | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ').map(Number);
    return {
      parent: fields[1]!,
      own: (fields[11]! + fields[12]!) / TICKS_PER_S,
      reaped: (fields[13]! + fields[14]!) / TICKS_PER_S,
    };
  } catch {
    return undefined;
  }
}
