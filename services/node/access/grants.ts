/** What a caller may do. */

import type { SpiffeId } from '../../api/grpc/certificate.ts';

export type OperatorRole = 'none' | 'read' | 'act';

export type Grants = {
  /** Headends that the caller speaks for, and whose peers it sees. */
  readonly headends: Names;
  /** Headends whose verdicts the caller carries out. */
  readonly watches: Names;
  readonly operator: OperatorRole;
};

/** A set of headends by name: those listed, an asterisk at the end standing for the rest of a name. */
export class Names {
  readonly #exact: ReadonlySet<string>;
  readonly #beginnings: readonly string[];

  constructor(patterns: readonly string[]) {
    this.#exact = new Set(patterns);
    this.#beginnings = patterns.filter((pattern) => pattern.endsWith('*')).map((pattern) => pattern.slice(0, -1));
  }

  has(name: string): boolean {
    return this.#exact.has(name) || this.#beginnings.some((beginning) => name.startsWith(beginning));
  }
}

const NONE = new Names([]);
const ALL = new Names(['*']);

export const NOTHING: Grants = { headends: NONE, watches: NONE, operator: 'none' };
/** Rights of every caller on a socket that does not leave the host: the system protects that socket. */
export const EVERYTHING: Grants = { headends: ALL, watches: ALL, operator: 'act' };

/**
 * What a SPIFFE ID of the own trust domain says by itself: /headend/NAME, /operator/read/NAME, /operator/act/NAME. The access file
 * names a watcher's headends. A node makes no calls.
 */
export function grantsOfSpiffe({ path: [role, name, ...rest] }: SpiffeId): Grants {
  if (role === 'headend' && name !== undefined && rest.length === 0) return { ...NOTHING, headends: new Names([name]) };
  if (role === 'operator' && rest.length === 1 && (name === 'read' || name === 'act'))
    return { ...NOTHING, operator: name };
  return NOTHING;
}
