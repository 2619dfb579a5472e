/** One logger for a process: JSON lines on stderr, level from LOG_LEVEL. Keys and secrets are never handed to it. */

import { destination, type Logger, pino } from 'pino';

export type { Logger };

/** A logger that names its component in every line. */
export function createLogger(component: string, level = process.env['LOG_LEVEL'] ?? 'info'): Logger {
  return pino({ level, base: { component } }, destination(2));
}
