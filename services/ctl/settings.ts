/** Where the cluster is and how to speak to it: from flags, then the environment, then the file of contexts. */

import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { TransportSettings } from '../api/grpc/credentials.ts';
import { DEFAULT_ADDRESS, TLS_SETTINGS } from '../api/transport-settings.ts';
import { isObject, type Members } from '../base/shape.ts';
import { CtlError, Exit } from './exit.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
const MOST_TIMEOUT_MS = 600_000;

/** Settings of the connection; those of TLS as every program has them. */
const NAMES = ['address', 'tlsCert', 'tlsKey', 'tlsCa', 'tlsCrl', 'tlsMin', 'trustDomain', 'allowPlaintext'] as const;
type Name = (typeof NAMES)[number];
/** Files, which a context may name from its own folder on. */
const FILES: readonly Name[] = ['tlsCert', 'tlsKey', 'tlsCa', 'tlsCrl'];
const ENVIRONMENT: Readonly<Record<Name, string>> = {
  address: 'DPDCTL_ADDRESS',
  tlsCert: TLS_SETTINGS.tlsCert.env,
  tlsKey: TLS_SETTINGS.tlsKey.env,
  tlsCa: TLS_SETTINGS.tlsCa.env,
  tlsCrl: TLS_SETTINGS.tlsCrl.env,
  tlsMin: TLS_SETTINGS.tlsMin.env,
  trustDomain: TLS_SETTINGS.trustDomain.env,
  allowPlaintext: TLS_SETTINGS.allowPlaintext.env,
};

export type Connection = Omit<TransportSettings, 'address'> & {
  /** Nodes to try, in this order: the others are found by them. */
  readonly addresses: readonly string[];
  /** Longest wait for one answer, ms. */
  readonly timeoutMs: number;
};

/** Adds the options that every command has. */
export function addConnectionOptions(program: Command): void {
  program
    .option('-c, --context <name>', 'context of the file; also DPDCTL_CONTEXT')
    .option('--contexts <file>', 'file of contexts; also DPDCTL_CONTEXTS [~/.config/dpdctl/contexts.json]')
    .option('-a, --address <list>', `addresses of nodes, with commas; also DPDCTL_ADDRESS [${DEFAULT_ADDRESS.varies}]`)
    .option('--timeout <ms>', `longest wait for one answer [${DEFAULT_TIMEOUT_MS}]`);
  for (const [name, { env, help }] of Object.entries(TLS_SETTINGS)) {
    const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    program.option(name === 'allowPlaintext' ? `--${flag}` : `--${flag} <value>`, `${help}; also ${env}`);
  }
}

/** Throws CtlError that names the setting, its value and what it must be. */
export function readConnection(flags: Members, env: NodeJS.ProcessEnv): Connection {
  const context = readContext(flags, env);
  const value = (name: Name): string => String(flags[name] ?? env[ENVIRONMENT[name]] ?? context[name] ?? '');
  const parsed = <N extends Exclude<Name, 'address'>>(name: N) => {
    const setting = TLS_SETTINGS[name];
    try {
      return setting.parse(value(name) || setting.fallback) as ReturnType<(typeof TLS_SETTINGS)[N]['parse']>;
    } catch (error) {
      throw new CtlError(Exit.USAGE, `${name}=${value(name)}: ${(error as Error).message}`);
    }
  };
  const addresses = (value('address') || DEFAULT_ADDRESS.fallback).split(',').filter((address) => address !== '');
  const timeoutMs = Number(flags['timeout'] ?? DEFAULT_TIMEOUT_MS);
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > MOST_TIMEOUT_MS)
    throw new CtlError(Exit.USAGE, `timeout=${flags['timeout']}: must be a whole number from 1 to ${MOST_TIMEOUT_MS}`);
  return {
    addresses,
    timeoutMs,
    tlsCert: parsed('tlsCert'),
    tlsKey: parsed('tlsKey'),
    tlsCa: parsed('tlsCa'),
    tlsCrl: parsed('tlsCrl'),
    tlsMin: parsed('tlsMin'),
    trustDomain: parsed('trustDomain'),
    allowPlaintext: parsed('allowPlaintext'),
  };
}

/** The chosen context's settings; none if there is no file and none was asked for. */
function readContext(flags: Members, env: NodeJS.ProcessEnv): Readonly<Partial<Record<Name, string>>> {
  const asked = flags['contexts'] ?? env['DPDCTL_CONTEXTS'];
  const file = String(asked ?? join(env['XDG_CONFIG_HOME'] || join(homedir(), '.config'), 'dpdctl', 'contexts.json'));
  const chosen = flags['context'] ?? env['DPDCTL_CONTEXT'];
  const fail = (what: string): never => {
    throw new CtlError(Exit.USAGE, `contexts ${file}: ${what}`);
  };
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && asked === undefined && chosen === undefined) return {};
    return fail(code ?? message);
  }
  if (!isObject(raw) || !isObject(raw['contexts'])) return fail('is no object with contexts');
  const name = chosen ?? raw['current'];
  if (name === undefined) return {};
  const context = Object.hasOwn(raw['contexts'], String(name)) ? raw['contexts'][String(name)] : undefined;
  if (!isObject(context))
    return fail(`there is no context "${name}"; there are ${Object.keys(raw['contexts']).join(', ')}`);
  for (const [member, value] of Object.entries(context)) {
    if (!NAMES.includes(member as Name)) fail(`${name}: "${member}" is not known; there are ${NAMES.join(', ')}`);
    if (typeof value !== 'string' && typeof value !== 'boolean') fail(`${name}: ${member} is no text`);
  }
  return Object.fromEntries(
    Object.entries(context).map(([member, value]) => [
      member,
      FILES.includes(member as Name) ? resolve(dirname(file), String(value)) : String(value),
    ]),
  );
}
