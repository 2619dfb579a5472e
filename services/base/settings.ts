/** Settings from flags and environment: read once at the edge, checked, and passed down. Flags win. */

import { isIPv6 } from 'node:net';
import { parseArgs } from 'node:util';
import { SettingsError } from '../../workers/base/errors.ts';
import { VERSION } from './version.ts';

/** One setting, as docs/settings.md has it. */
export type Setting<T> = {
  /** Environment variable. */
  readonly env: string;
  readonly help: string;
  /** Shown in help; the effective default is what `parse` makes of it. */
  readonly fallback: string;
  /** What the default is in words, where it is not the same on every machine. */
  readonly varies?: string;
  /** A flag without a value. */
  readonly boolean?: boolean;
  /** Never a flag, because every user of the machine can see flags. */
  readonly secret?: boolean;
  /** Throws an error that says what is wrong with the value. */
  readonly parse: (text: string) => T;
};

export type SettingsTable = Readonly<Record<string, Setting<unknown>>>;
export type SettingsOf<Table extends SettingsTable> = {
  readonly [K in keyof Table]: Table[K] extends Setting<infer T> ? T : never;
};

/** Where settings come from: this process, unless said otherwise. */
export type SettingsSource = {
  readonly argv?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** What to do with unknown flags, and with `--help`. */
  readonly others?: 'refuse' | 'ignore';
};

/**
 * Reads the settings of `table`; keys in lower camel case are flags in kebab case.
 * Prints help or version and exits with 0 on `--help` and `--version`. Throws SettingsError.
 */
export function readSettings<Table extends SettingsTable>(
  usage: string,
  table: Table,
  { argv = process.argv.slice(2), env = process.env, others = 'refuse' }: SettingsSource = {},
): SettingsOf<Table> {
  const options = Object.fromEntries(
    Object.entries(table)
      .filter(([, { secret }]) => !secret)
      .map(([name, { boolean }]) => [flagOf(name), { type: boolean ? ('boolean' as const) : ('string' as const) }]),
  );
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: others === 'refuse' ? { ...options, help: { type: 'boolean' }, version: { type: 'boolean' } } : options,
      strict: others === 'refuse',
    }));
  } catch (error) {
    throw new SettingsError(`${(error as Error).message.split('. ')[0]}; --help lists the settings`);
  }
  if (others === 'refuse' && values['help']) {
    process.stdout.write(helpText(usage, table));
    process.exit(0);
  }
  if (others === 'refuse' && values['version']) {
    process.stdout.write(`dpd-offload ${VERSION}, Node ${process.version}\n`);
    process.exit(0);
  }
  const result: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(table)) {
    const flag = setting.secret ? undefined : values[flagOf(name)];
    const text = flag === undefined ? (env[setting.env] ?? setting.fallback) : String(flag);
    const source = flag === undefined && env[setting.env] !== undefined ? setting.env : `--${flagOf(name)}`;
    try {
      result[name] = setting.parse(text);
    } catch (error) {
      throw new SettingsError(`${source}${setting.secret ? '' : `=${text}`}: ${(error as Error).message}`);
    }
  }
  return result as SettingsOf<Table>;
}

/** Help for a table, one setting a line. */
export function helpText(usage: string, table: SettingsTable): string {
  const lines = Object.entries(table).map(([name, { env, help, fallback, secret }]) => {
    const flag = (secret ? '' : `  --${flagOf(name)}`).padEnd(26);
    return `${flag}${env.padEnd(26)}${help}${fallback === '' ? '' : ` [${fallback}]`}`;
  });
  return `${usage}\n\n${'  flag'.padEnd(26)}${'environment'.padEnd(26)}meaning [default]\n${lines.join('\n')}\n`;
}

/** Runs a program's main function; a SettingsError is one line and exit code 2, anything else a trace and 1. */
export async function runMain(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    process.stderr.write(error instanceof SettingsError ? `${error.message}\n` : `${(error as Error).stack}\n`);
    process.exit(error instanceof SettingsError ? 2 : 1);
  }
}

/** A text, as it is. */
export const text = (value: string): string => value;
/** A text, or undefined when empty. */
export const optional = (value: string): string | undefined => (value === '' ? undefined : value);

/** A boolean: a flag that stands, or true/false in the environment. */
export function flag(value: string): boolean {
  if (['true', '1'].includes(value)) return true;
  if (['false', '0', ''].includes(value)) return false;
  throw new Error('must be true or false');
}

/** A whole number within limits. */
export function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (value.trim() === '' || !Number.isInteger(number) || number < min || number > max)
      throw new Error(`must be a whole number from ${min} to ${max}`);
    return number;
  };
}

/** A text that matches a pattern. */
export function matching(pattern: RegExp, what: string): (value: string) => string {
  return (value) => {
    if (!pattern.test(value)) throw new Error(`must be ${what}`);
    return value;
  };
}

/** An IPv6 address. */
export function ipv6(value: string): string {
  if (!isIPv6(value)) throw new Error('must be an IPv6 address');
  return value;
}

/** One of a few words. */
export function oneOf<const T extends string>(...words: readonly T[]): (value: string) => T {
  return (value) => {
    const word = words.find((known) => known === value);
    if (word === undefined) throw new Error(`must be ${words.join(' or ')}`);
    return word;
  };
}

/** A setting's flag, without its dashes. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
