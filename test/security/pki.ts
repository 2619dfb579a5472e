/** A certificate authority of the test's own, by openssl. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransportSettings } from '../../services/api/grpc/credentials.ts';
import { skipUnless } from '../requirements.ts';

export const PKI_SKIP = skipUnless({ openssl: ['/usr/bin/openssl'] }, { root: false });

const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const CONFIG = `
[ca]
default_ca = own
[own]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
default_days = 1
default_crl_days = 1
policy = any
copy_extensions = copy
unique_subject = no
[any]
organizationName = optional
commonName = optional
`;

export class Pki {
  readonly directory = mkdtempSync(join(tmpdir(), 'dpd-pki-'));

  constructor() {
    writeFileSync(join(this.directory, 'ca.cnf'), CONFIG);
    this.authority('ca');
  }

  /** Makes a CA, whose certificate is `${name}.pem`. */
  authority(name: string): void {
    writeFileSync(join(this.directory, 'index.txt'), '');
    writeFileSync(join(this.directory, 'serial'), '01');
    this.#openssl(
      'req',
      '-x509',
      ...CURVE,
      '-days',
      '1',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
    );
  }

  /** Makes a certificate in `${file}.pem` and its key, in place of what was there. @param names as openssl writes subjectAltName @param seconds how long it is good */
  certificate(file: string, names: string, { ca = 'ca', subject = '/', seconds = 86_400 } = {}): void {
    const alternative = names === '' ? [] : ['-addext', `subjectAltName=${names}`];
    this.#openssl('req', '-new', ...CURVE, '-subj', subject, ...alternative, '-keyout', 'new.key', '-out', 'new.csr');
    // As openssl wants it: 20300102030405Z.
    const end = new Date(Date.now() + seconds * 1_000).toISOString().replace(/[-:T]|\.\d+/g, '');
    this.#authorityDoes(ca, '-in', 'new.csr', '-out', 'new.pem', '-notext', '-enddate', end);
    renameSync(this.path('new.key'), this.path(`${file}.key`));
    renameSync(this.path('new.pem'), this.path(`${file}.pem`));
  }

  /** Writes `crl.pem`. @param files whose certificates are revoked */
  revoke(...files: readonly string[]): void {
    for (const file of files) this.#authorityDoes('ca', '-revoke', `${file}.pem`);
    this.#authorityDoes('ca', '-gencrl', '-out', 'crl.pem');
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** How the holder of a certificate talks to an address. */
  transport(file: string, address: string): TransportSettings {
    return {
      address,
      tlsCert: this.path(`${file}.pem`),
      tlsKey: this.path(`${file}.key`),
      tlsCa: this.path('ca.pem'),
      tlsCrl: undefined,
      tlsMin: '1.3',
      trustDomain: undefined,
      allowPlaintext: false,
    };
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }

  #authorityDoes(ca: string, ...args: readonly string[]): void {
    this.#openssl('ca', '-batch', '-config', 'ca.cnf', '-cert', `${ca}.pem`, '-keyfile', `${ca}.key`, ...args);
  }

  #openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { cwd: this.directory, stdio: ['ignore', 'ignore', 'pipe'] });
  }
}
