/** Checks the form of foreign values, mostly JSON. */

export type Members = Readonly<Record<string, unknown>>;

/** Whether it is an object with members: no list, and not null. */
export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether it is a text of at most so many characters. */
export function isText(value: unknown, most: number): value is string {
  return typeof value === 'string' && value.length <= most;
}

/** Whether it is a whole number from `least` to `most`, both included. */
export function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}
