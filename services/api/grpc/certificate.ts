/** The names of a certificate's holder. */

import { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';

/** The name in an X.509-SVID (SPIFFE, X509-SVID section 2): spiffe://domain/path. */
export type SpiffeId = { readonly domain: string; readonly path: readonly string[] };

export type CertificateNames = {
  readonly spiffe: SpiffeId | undefined;
  readonly dns: readonly string[];
  /** Attributes in the order in which they stand: `O=NOC,CN=alice`. */
  readonly subject: string;
};

/** Names of an authenticated certificate, as TLS gives it. */
export function namesOf({
  subject,
  subjectaltname,
}: Pick<PeerCertificate, 'subject' | 'subjectaltname'>): CertificateNames {
  const attributes = Object.entries(subject ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => `${name}=${value}`),
  );
  return { ...alternativeNames(subjectaltname), subject: attributes.join(',') };
}

/** SPIFFE ID in a PEM file's first certificate. Throws if it is none. */
export function spiffeIdIn(pem: Buffer): SpiffeId | undefined {
  return alternativeNames(new X509Certificate(pem).subjectAltName).spiffe;
}

/** The name of a certificate's holder for people to read: the most specific of its names. */
export function displayName({ spiffe, dns, subject }: CertificateNames): string {
  return spiffe ? spiffeUri(spiffe) : dns.length > 0 ? `DNS:${dns[0]}` : subject || 'a certificate without a name';
}

export function spiffeUri({ domain, path }: SpiffeId): string {
  return `spiffe://${[domain, ...path].join('/')}`;
}

/** One entry, as Node prints it: a value with special characters is a JSON string. */
const ENTRY = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)/g;
const SPIFFE = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]{1,255}){1,8})$/;

function alternativeNames(text = ''): Pick<CertificateNames, 'spiffe' | 'dns'> {
  const entries = [...text.matchAll(ENTRY)].map(([, kind, value]) => ({ kind, value: unquoted(value!) }));
  const of = (kind: string) => entries.filter((entry) => entry.kind === kind).map(({ value }) => value);
  const uris = of('URI');
  // An SVID has exactly one URI; with two it would not be clear which one counts.
  const [, domain, path] = (uris.length === 1 && SPIFFE.exec(uris[0]!)) || [];
  return {
    spiffe: domain === undefined ? undefined : { domain, path: path!.slice(1).split('/') },
    dns: of('DNS'),
  };
}

/** An entry that cannot be read is not a name. */
function unquoted(value: string): string {
  if (!value.startsWith('"')) return value;
  try {
    return JSON.parse(value) as string;
  } catch {
    return '';
  }
}
