/** Transport security. The API carries IKE keys: TLS with client certificates, or plaintext that stays on the host. */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { type PeerCertificate, checkServerIdentity as verifyIdentity } from 'node:tls';
import { ChannelCredentials, type ChannelOptions, ServerCredentials } from '@grpc/grpc-js';

import { SettingsError } from '../../../workers/base/errors.ts';

/** Where and how to talk. */
export type TransportSettings = {
  /** host:port or unix:/path. */
  readonly address: string;
  /** PEM files; all three or none. */
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly tlsCa: string | undefined;
  /** Plaintext beyond loopback, asked for by name. */
  readonly allowPlaintext: boolean;
};

/** Plaintext on this host, or wherever the caller knows that nobody listens. */
export function plaintext(address: string, allowPlaintext = false): TransportSettings {
  return { address, tlsCert: undefined, tlsKey: undefined, tlsCa: undefined, allowPlaintext };
}

/** Credentials for a server; clients must present a certificate of the CA. Throws SettingsError. */
export function serverCredentials(settings: TransportSettings): ServerCredentials {
  const pem = readPem(settings);
  if (!pem) return ServerCredentials.createInsecure();
  return ServerCredentials.createSsl(pem.ca, [{ cert_chain: pem.cert, private_key: pem.key }], true);
}

/** Sent as server name where the address is an IP address, for which TLS has no such name (RFC 6066 section 3). */
const NO_NAME = 'ip-address.invalid';

/** Credentials for a client, and the channel options that go with them. Throws SettingsError. */
export function clientCredentials(settings: TransportSettings): {
  credentials: ChannelCredentials;
  options: ChannelOptions;
} {
  const pem = readPem(settings);
  if (!pem) return { credentials: ChannelCredentials.createInsecure(), options: {} };
  const host = settings.address.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  if (!isIP(host)) return { credentials: ChannelCredentials.createSsl(pem.ca, pem.key, pem.cert), options: {} };
  // grpc-js would give the address as server name, which Node 26 refuses; the certificate must still be for it.
  const checkServerIdentity = (_name: string, certificate: PeerCertificate) => verifyIdentity(host, certificate);
  return {
    credentials: ChannelCredentials.createSsl(pem.ca, pem.key, pem.cert, { checkServerIdentity }),
    options: { 'grpc.ssl_target_name_override': NO_NAME, 'grpc.default_authority': settings.address },
  };
}

function readPem(settings: TransportSettings): { cert: Buffer; key: Buffer; ca: Buffer } | undefined {
  const { tlsCert, tlsKey, tlsCa, address, allowPlaintext } = settings;
  if (tlsCert && tlsKey && tlsCa)
    return { cert: read('tls-cert', tlsCert), key: read('tls-key', tlsKey), ca: read('tls-ca', tlsCa) };
  if (tlsCert || tlsKey || tlsCa)
    throw new SettingsError('tls-cert, tls-key and tls-ca go together: give all three or none');
  if (!staysOnHost(address) && !allowPlaintext)
    throw new SettingsError(
      `address ${address}: plaintext would carry IKE keys off this host; ` +
        'set tls-cert, tls-key and tls-ca, or ask for it with allow-plaintext',
    );
  return undefined;
}

/** Whether an address is a unix socket or on loopback. */
export function staysOnHost(address: string): boolean {
  return /^unix:/.test(address) || /^(127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$/.test(address);
}

function read(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new SettingsError(`${name} ${path}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}`);
  }
}
