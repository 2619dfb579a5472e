/** Finds out who calls, and what the caller may do. */

import type { PeerCertificate } from 'node:tls';
import { displayName, namesOf } from '../../api/grpc/certificate.ts';
import type { Logger } from '../../base/log.ts';
import { watchFiles } from '../../base/watch-files.ts';
import { AccessFile } from './access-file.ts';
import { EVERYTHING, grantsOfSpiffe, NOTHING } from './grants.ts';
import type { Who } from './methods.ts';

const LOCAL: Who = { name: 'whoever reaches the socket', grants: EVERYTHING, local: true };
const NOBODY: Who = { name: 'nobody', grants: NOTHING, local: false };

export class Access {
  readonly #path: string | undefined;
  /** Undefined: plaintext. */
  readonly #domain: string | undefined;
  readonly #log: Logger;
  #file: AccessFile;
  /** The file is not read again. */
  readonly close: () => void;

  /**
   * Reads the file. Throws SettingsError.
   * @param domain SPIFFE trust domain, '' without any; undefined: plaintext, where every caller may do everything
   */
  constructor(path: string | undefined, domain: string | undefined, log: Logger) {
    this.#path = path;
    this.#domain = domain;
    this.#log = log;
    this.#file = AccessFile.read(path);
    this.close = watchFiles(path === undefined ? [] : [path], () => this.#reread());
  }

  /** The caller of a call. */
  of(call: { getAuthContext(): { sslPeerCertificate?: PeerCertificate } }): Who {
    if (this.#domain === undefined) return LOCAL;
    const { sslPeerCertificate } = call.getAuthContext();
    if (!sslPeerCertificate) return NOBODY;
    const names = namesOf(sslPeerCertificate);
    const own = names.spiffe !== undefined && names.spiffe.domain === this.#domain;
    const grants = this.#file.of(names) ?? (own ? grantsOfSpiffe(names.spiffe) : NOTHING);
    return { name: displayName(names), grants, local: false };
  }

  #reread(): void {
    try {
      this.#file = AccessFile.read(this.#path);
      this.#log.info({ file: this.#path }, 'access file read again');
    } catch (error) {
      this.#log.error({ reason: (error as Error).message }, 'access file not read: what it said before holds');
    }
  }
}
