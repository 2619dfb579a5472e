import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Revocations } from '../../../../services/api/grpc/revocations.ts';
import { PKI_SKIP, Pki } from '../../../security/pki.ts';

describe('revocations', { skip: PKI_SKIP }, () => {
  test('are those of the list, by issuer and number, with any number of entries', (t) => {
    const pki = new Pki();
    t.after(() => pki.remove());
    const names = Array.from({ length: 12 }, (_, n) => `c${n}`);
    for (const name of names) pki.certificate(name, `DNS:${name}`);
    const der = (name: string) => new X509Certificate(readFileSync(pki.path(`${name}.pem`))).raw;
    const read = () => Revocations.read(readFileSync(pki.path('crl.pem')));
    pki.revoke();
    assert(names.every((name) => !read().has(der(name))));
    pki.revoke('c1');
    pki.revoke(...names.slice(5));
    const revoked = read();
    assert.deepEqual(
      names.filter((name) => revoked.has(der(name))),
      ['c1', ...names.slice(5)],
    );
    // The same numbers, by another authority.
    pki.authority('other');
    for (const name of names) pki.certificate(name, `DNS:${name}`, { ca: 'other' });
    assert(names.every((name) => !revoked.has(der(name))));
  });

  test('what is none is refused, at every length', (t) => {
    const pki = new Pki();
    t.after(() => pki.remove());
    pki.certificate('c', 'DNS:c');
    pki.revoke('c');
    const pem = String(readFileSync(pki.path('crl.pem')));
    const [, body] = /-----BEGIN X509 CRL-----([^-]+)/.exec(pem)!;
    const list = Buffer.from(body!, 'base64');
    for (let length = 0; length < list.length; length++) {
      const text = list.subarray(0, length).toString('base64');
      const cut = Buffer.from(`-----BEGIN X509 CRL-----\n${text || 'AA=='}\n-----END X509 CRL-----\n`);
      assert.throws(() => Revocations.read(cut), RangeError, `${length} bytes`);
    }
  });
});

test('without a list nothing is revoked', () => {
  assert.equal(Revocations.read(undefined).has(Buffer.alloc(0)), false);
});
