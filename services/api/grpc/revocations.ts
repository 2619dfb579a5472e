/**
 * Which certificates are revoked. TLS asks the same list at each handshake, and checks its signature; here it is asked again about
 * those who are connected already.
 */

import { partsOf, readDer, Tag } from './der.ts';

const CRL = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]+)-----END X509 CRL-----/g;

/** Issuers and serial numbers of revoked certificates. */
export class Revocations {
  readonly #revoked: ReadonlySet<string>;

  private constructor(revoked: ReadonlySet<string>) {
    this.#revoked = revoked;
  }

  /** Those of all lists (RFC 5280 section 5.1) in a PEM file; none without a file. Throws RangeError if one of them is none. */
  static read(pem: Buffer | undefined): Revocations {
    const revoked = new Set<string>();
    for (const [, base64] of String(pem ?? '').matchAll(CRL))
      for (const name of namesIn(Buffer.from(base64!, 'base64'))) revoked.add(name);
    return new Revocations(revoked);
  }

  /** Whether a certificate is revoked. @param certificate in DER. Throws RangeError if it is none. */
  has(certificate: Buffer): boolean {
    if (this.#revoked.size === 0) return false;
    const [body] = partsOf(certificate, readDer(certificate));
    const fields = partsOf(certificate, body!).filter(({ tag }) => tag !== Tag.VERSION);
    // RFC 5280 section 4.1: serial number, signature algorithm, issuer.
    const [serial, , issuer] = fields;
    return this.#revoked.has(nameOf(certificate.subarray(issuer!.start, issuer!.to), certificate, serial!));
  }
}

/** Issuer and serial number of each certificate in a list. */
function namesIn(list: Buffer): string[] {
  const [body] = partsOf(list, readDer(list));
  // Version, if there is one, signature algorithm, issuer, one time or two, and revoked certificates, if there are any.
  const fields = partsOf(list, body!).filter(({ tag }) => tag !== Tag.INTEGER);
  const issuer = fields[1]!;
  const revoked = fields.slice(2).find(({ tag }) => tag === Tag.SEQUENCE);
  const name = list.subarray(issuer.start, issuer.to);
  return revoked ? partsOf(list, revoked).map((entry) => nameOf(name, list, partsOf(list, entry)[0]!)) : [];
}

function nameOf(issuer: Buffer, bytes: Buffer, { from, to }: { readonly from: number; readonly to: number }): string {
  return `${bytes.toString('hex', from, to)} ${issuer.toString('hex')}`;
}
