/** The files of TLS: own certificate, key, CA and revocations. Read again when they change, so that nothing has to be restarted. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { SettingsError } from '../../../workers/base/errors.ts';
import { watchFiles } from '../../base/watch-files.ts';
import { spiffeIdIn } from './certificate.ts';
import { Revocations } from './revocations.ts';

export type TlsPaths = {
  readonly tlsCert: string;
  readonly tlsKey: string;
  readonly tlsCa: string;
  readonly tlsCrl: string | undefined;
  readonly tlsMin: '1.2' | '1.3';
};

/** Names of the files' settings. */
const FLAGS = { tlsCert: 'tls-cert', tlsKey: 'tls-key', tlsCa: 'tls-ca', tlsCrl: 'tls-crl' } as const;

export class TlsFiles {
  readonly #paths: TlsPaths;
  #context: SecureContextOptions;
  #revocations: Revocations;
  /** Of the own certificate; '' if that has no SPIFFE ID. */
  readonly ownDomain: string;

  /** Reads them. Throws SettingsError that names the file which cannot be used. */
  constructor(paths: TlsPaths) {
    this.#paths = paths;
    this.#context = readContext(paths);
    this.#revocations = readRevocations(paths, this.#context);
    this.ownDomain = spiffeIdIn(this.#context.cert as Buffer)?.domain ?? '';
  }

  /** As they were when they were read last. */
  get context(): SecureContextOptions {
    return this.#context;
  }

  /** Revocations, as they were when they were read last. */
  get revocations(): Revocations {
    return this.#revocations;
  }

  /** Reads them again. Returns why they cannot be used: then those read before stay in use. Only half of a new pair may be written yet. */
  read(): SettingsError | undefined {
    try {
      const context = readContext(this.#paths);
      this.#revocations = readRevocations(this.#paths, context);
      this.#context = context;
      return undefined;
    } catch (error) {
      return error as SettingsError;
    }
  }

  /** Calls back after each change, when they were read again. Returns the function that stops this. Does not keep the process alive. */
  watch(changed: (failure?: SettingsError) => void): () => void {
    const paths = Object.keys(FLAGS).flatMap((name) => this.#paths[name as keyof typeof FLAGS] ?? []);
    return watchFiles(paths, () => changed(this.read()));
  }
}

function readContext(paths: TlsPaths): SecureContextOptions {
  const read = (name: keyof typeof FLAGS) => usable(FLAGS[name], paths[name]!, (path) => readFileSync(path));
  const context: SecureContextOptions = {
    cert: read('tlsCert'),
    key: read('tlsKey'),
    ca: read('tlsCa'),
    ...(paths.tlsCrl !== undefined && { crl: read('tlsCrl') }),
    minVersion: `TLSv${paths.tlsMin}`,
  };
  const { cert, key, ca, crl } = context;
  // TLS accepts a CA file without any certificate silently.
  usable('tls-ca', paths.tlsCa, () => new X509Certificate(ca as Buffer));
  usable('tls-cert', paths.tlsCert, () => createSecureContext({ cert }));
  usable('tls-key', paths.tlsKey, () => createSecureContext({ cert, key }));
  usable('tls-crl', paths.tlsCrl ?? '', () => createSecureContext({ crl }));
  return context;
}

function readRevocations({ tlsCrl = '' }: TlsPaths, { crl }: SecureContextOptions): Revocations {
  return usable('tls-crl', tlsCrl, () => Revocations.read(crl as Buffer | undefined));
}

/** What is made of a file. Throws SettingsError: OpenSSL's own words name neither file nor setting. */
function usable<T>(flag: string, path: string, use: (path: string) => T): T {
  try {
    return use(path);
  } catch (error) {
    throw new SettingsError(`${flag} ${path}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be used'}`);
  }
}
