/** Transport security. The API carries IKE keys: TLS with client certificates, or plaintext that stays on the host. */

import { isIP } from 'node:net';
import { createSecureContext, type PeerCertificate, checkServerIdentity as verifyIdentity } from 'node:tls';
import { ChannelCredentials, type ChannelOptions, ServerCredentials } from '@grpc/grpc-js';
import { SettingsError } from '../../../workers/base/errors.ts';
import { displayName, namesOf } from './certificate.ts';
import { TlsFiles, type TlsPaths } from './tls-files.ts';

/** Where and how to talk. */
export type TransportSettings = {
  /** host:port or unix:/path. */
  readonly address: string;
  /** PEM files; all three or none. */
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly tlsCa: string | undefined;
  /** PEM file of revocations. */
  readonly tlsCrl: string | undefined;
  readonly tlsMin: '1.2' | '1.3';
  /** SPIFFE trust domain; undefined: that of the own certificate, if it has one. */
  readonly trustDomain: string | undefined;
  /** Plaintext beyond loopback, allowed by its setting. */
  readonly allowPlaintext: boolean;
};

/** Plaintext on this host, or where the caller knows that no one can listen. */
export function plaintext(address: string, allowPlaintext = false): TransportSettings {
  return {
    address,
    tlsCert: undefined,
    tlsKey: undefined,
    tlsCa: undefined,
    tlsCrl: undefined,
    tlsMin: '1.3',
    trustDomain: undefined,
    allowPlaintext,
  };
}

/**
 * The files of TLS, or undefined for plaintext. Throws SettingsError if they cannot be used, or plaintext is not allowed.
 */
export function tlsFilesOf(settings: TransportSettings): TlsFiles | undefined {
  const { tlsCert, tlsKey, tlsCa, tlsCrl, tlsMin, address, allowPlaintext } = settings;
  if (tlsCert && tlsKey && tlsCa) return new TlsFiles({ tlsCert, tlsKey, tlsCa, tlsCrl, tlsMin } satisfies TlsPaths);
  if (tlsCert || tlsKey || tlsCa || tlsCrl)
    throw new SettingsError('tls-cert, tls-key and tls-ca go together, and tls-crl with them: give all three or none');
  if (!staysOnHost(address) && !allowPlaintext)
    throw new SettingsError(
      `address ${address}: plaintext would carry IKE keys off this host; ` +
        'set tls-cert, tls-key and tls-ca, or ask for it with allow-plaintext',
    );
  return undefined;
}

/** Credentials for a server; clients must present a certificate of the CA. {@link renew} when the files have changed. */
export class TlsServerCredentials extends ServerCredentials {
  constructor({ context }: TlsFiles) {
    super({ requestCert: true }, context);
  }

  /** For connections made from now on. */
  renew({ context }: TlsFiles): void {
    this.updateSecureContextOptions(context);
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

/** Sent as server name where the address is an IP address, for which TLS has no such name (RFC 6066 section 3). */
const NO_NAME = 'ip-address.invalid';

/** Credentials for a client, and the channel options that go with them. Throws SettingsError. */
export function clientCredentials(settings: TransportSettings): {
  credentials: ChannelCredentials;
  options: ChannelOptions;
} {
  const files = tlsFilesOf(settings);
  if (!files) return { credentials: ChannelCredentials.createInsecure(), options: {} };
  const host = settings.address.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  const domain = settings.trustDomain ?? files.ownDomain;
  const check = (certificate: PeerCertificate) =>
    domain === '' ? verifyIdentity(host, certificate) : whyNoNode(certificate, domain);
  return {
    credentials: new TlsChannelCredentials(files, check),
    // grpc-js would give an IP address as server name, which Node 26 refuses.
    options: isIP(host) ? { 'grpc.ssl_target_name_override': NO_NAME, 'grpc.default_authority': settings.address } : {},
  };
}

/** A client with a trust domain gives its keys only to nodes of that domain, whatever their addresses. */
function whyNoNode(certificate: PeerCertificate, domain: string): Error | undefined {
  const names = namesOf(certificate);
  if (names.spiffe?.domain === domain && names.spiffe.path[0] === 'node') return undefined;
  return new Error(`${displayName(names)} is no node of ${domain}`);
}

/** Each connection is made with the files as they are then. */
class TlsChannelCredentials extends ChannelCredentials {
  readonly #files: TlsFiles;
  readonly #check: (certificate: PeerCertificate) => Error | undefined;

  constructor(files: TlsFiles, check: (certificate: PeerCertificate) => Error | undefined) {
    super();
    this.#files = files;
    this.#check = check;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    ...args: Parameters<ChannelCredentials['_createSecureConnector']>
  ): ReturnType<ChannelCredentials['_createSecureConnector']> {
    const first = this.#current()._createSecureConnector(...args);
    return {
      connect: (socket) =>
        this.#current()
          ._createSecureConnector(...args)
          .connect(socket),
      waitForReady: () => first.waitForReady(),
      getCallCredentials: () => first.getCallCredentials(),
      destroy: () => first.destroy(),
    };
  }

  #current(): ChannelCredentials {
    // If files cannot be used now, those read before stay in use.
    this.#files.read();
    return ChannelCredentials.createFromSecureContext(createSecureContext(this.#files.context), {
      checkServerIdentity: (_name, certificate) => this.#check(certificate),
    });
  }
}

/** Whether an address is a unix socket or on loopback. */
export function staysOnHost(address: string): boolean {
  return /^unix:/.test(address) || /^(127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$/.test(address);
}
