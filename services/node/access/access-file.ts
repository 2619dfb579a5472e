/** The access file: what holders of certificates may do, beyond what their SPIFFE IDs say. */

import { readFileSync } from 'node:fs';
import { SettingsError } from '../../../workers/base/errors.ts';
import { type CertificateNames, spiffeUri } from '../../api/grpc/certificate.ts';
import { type Grants, Names, NOTHING, type OperatorRole } from './grants.ts';

/** Entries at most. */
const MOST_IDENTITIES = 100_000;
const HEADEND = /^[A-Za-z0-9._-]{0,64}\*?$/;
const IDENTITY = /^(spiffe:\/\/.+|DNS:.+|[A-Za-z.0-9]+=.+)$/;
const OPERATOR: readonly OperatorRole[] = ['none', 'read', 'act'];

export class AccessFile {
  readonly #grants: ReadonlyMap<string, Grants>;

  private constructor(grants: ReadonlyMap<string, Grants>) {
    this.#grants = grants;
  }

  /** Without a file there are no entries. Throws SettingsError that names the wrong entry. */
  static read(path: string | undefined): AccessFile {
    if (path === undefined) return new AccessFile(new Map());
    const fail = (what: string): never => {
      throw new SettingsError(`access ${path}: ${what}`);
    };
    let raw: unknown;
    try {
      raw = JSON.parse(readFileSync(path, 'utf8'));
    } catch (error) {
      fail((error as NodeJS.ErrnoException).code ?? (error as Error).message);
    }
    return AccessFile.parse(raw, fail);
  }

  /** @param fail throws what it is given */
  static parse(raw: unknown, fail: (what: string) => never): AccessFile {
    const { identities = {}, ...others } = membersOf(raw, 'the file', fail);
    for (const name of Object.keys(others)) fail(`"${name}" is not known; there is identities`);
    const entries = Object.entries(membersOf(identities, 'identities', fail));
    if (entries.length > MOST_IDENTITIES) fail(`identities: ${entries.length}, at most ${MOST_IDENTITIES}`);
    return new AccessFile(new Map(entries.map(([identity, entry]) => [identity, grantsOf(identity, entry, fail)])));
  }

  /** The entry for a certificate's holder, by the first of its names that is listed: SPIFFE ID, DNS names, subject. */
  of({ spiffe, dns, subject }: CertificateNames): Grants | undefined {
    const names = [...(spiffe ? [spiffeUri(spiffe)] : []), ...dns.map((name) => `DNS:${name}`), subject];
    const listed = names.find((name) => this.#grants.has(name));
    return listed === undefined ? undefined : this.#grants.get(listed);
  }
}

function grantsOf(identity: string, entry: unknown, fail: (what: string) => never): Grants {
  if (!IDENTITY.test(identity)) fail(`"${identity}" is no spiffe://..., DNS:... or subject like CN=...`);
  const { headend = [], watch = [], operator = 'none', ...others } = membersOf(entry, identity, fail);
  for (const name of Object.keys(others))
    fail(`${identity}: "${name}" is not known; there are headend, watch and operator`);
  const names = (member: string, list: unknown) => {
    if (!Array.isArray(list) || !list.every((name) => typeof name === 'string' && HEADEND.test(name) && name !== ''))
      fail(`${identity}: ${member} is no list of headends, each with an asterisk at its end at most`);
    return new Names(list as string[]);
  };
  if (!OPERATOR.includes(operator as OperatorRole)) fail(`${identity}: operator is not ${OPERATOR.join(', ')}`);
  return {
    ...NOTHING,
    headends: names('headend', headend),
    watches: names('watch', watch),
    operator: operator as OperatorRole,
  };
}

function membersOf(value: unknown, what: string, fail: (what: string) => never): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return fail(`${what} is no object`);
  return value as Record<string, unknown>;
}
