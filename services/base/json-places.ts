/** Reading JSON so that an error names the place of what is wrong. */

import { SettingsError } from '../../workers/base/errors.ts';
import { isObject, type Members } from './shape.ts';

/** The members of an object, which must be among those known. Throws SettingsError. @param known any, if undefined */
export function members(value: unknown, where: string, known?: readonly string[]): Members {
  if (!isObject(value)) throw new SettingsError(`${where}: ${shown(value)} is not an object`);
  const unknown = known && Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new SettingsError(`${where}.${unknown.slice(0, 80)}: is not known, only ${known!.join(', ')}`);
  return value;
}

/** The entry of a table by its name, never one that every object has. */
export function named<T>(table: Readonly<Record<string, T>>, name: unknown): T | undefined {
  return typeof name === 'string' && Object.hasOwn(table, name) ? table[name] : undefined;
}

/** A value as an error shows it. */
export function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing');
  return text.slice(0, 80);
}
