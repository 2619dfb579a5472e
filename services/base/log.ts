/**
 * One logger for a process: JSON lines on stderr, level from LOG_LEVEL. Keys and secrets are never handed to it. An event that
 * happens to thousands of peers at once is a few lines and a sum, not a line per peer.
 */

import { type DestinationStream, destination, type LogFn, type Logger, pino } from 'pino';

export type { Logger };

/** Lines of one event, told apart by its text, in a window; those beyond are counted, and told as one line when it ends. */
const LINES = 20;
const WINDOW_MS = 10_000;
/** Events told apart; their texts are constants, so there are fewer. */
const MOST_EVENTS = 1_000;
/** Fields that say how many peers or verdicts one line stands for: the line at the end has their sums. */
const SUMMED = ['verdicts', 'sas'];
/** Each of these is told: somebody answers for it. */
const ALWAYS = new Set(['audit']);
/** Levels from here on are bounded; whoever asks for debug wants all of it. */
const BOUNDED_FROM = 30;

/** A logger that names its component in every line. */
export function createLogger(
  component: string,
  level = process.env['LOG_LEVEL'] ?? 'info',
  to: DestinationStream = destination(2),
): Logger {
  const bound = new Bound();
  return pino({ level, base: { component }, hooks: { logMethod: bound.log } }, to);
}

type Window = { lines: number; more: number; readonly sums: Map<string, number> };

/** Bounds the lines of each event, for all parts of a process together. */
class Bound {
  readonly #windows = new Map<string, Window>();

  /** pino's hook: called with the logger as `this` instead of its method. */
  get log() {
    const admits = (text: string, fields: unknown, end: (window: Window) => void) => this.#admits(text, fields, end);
    return function (this: Logger, args: Parameters<LogFn>, method: LogFn, level: number): void {
      const [fields, text] = args as unknown as [unknown, unknown];
      const event = typeof text === 'string' ? text : String(fields);
      const end = ({ more, sums }: Window) =>
        method.call(this, { more, withinMs: WINDOW_MS, ...Object.fromEntries(sums) }, `${event}: more of these`);
      if (level < BOUNDED_FROM || ALWAYS.has(event) || admits(event, fields, end)) method.apply(this, args);
    };
  }

  #admits(event: string, fields: unknown, end: (window: Window) => void): boolean {
    let window = this.#windows.get(event);
    if (!window) {
      if (this.#windows.size >= MOST_EVENTS) return true;
      const begun: Window = { lines: 0, more: 0, sums: new Map() };
      window = begun;
      this.#windows.set(event, begun);
      setTimeout(() => {
        this.#windows.delete(event);
        if (begun.more > 0) end(begun);
      }, WINDOW_MS).unref();
    }
    if (window.lines < LINES) {
      window.lines++;
      return true;
    }
    window.more++;
    for (const name of SUMMED) {
      const value = (fields as Record<string, unknown> | null)?.[name];
      if (typeof value === 'number') window.sums.set(name, (window.sums.get(name) ?? 0) + value);
    }
    return false;
  }
}
