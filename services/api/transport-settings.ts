/** Settings of the transport, for servers and clients of the API. */

import { resolve } from 'node:path';
import { flag, matching, oneOf, optional } from '../base/settings.ts';

const SOCKET = 'data/api.sock';

/**
 * Where a node serves, and its clients look for it, unless told otherwise: a unix socket of mode 0600, for the node's own user and root.
 */
export const DEFAULT_ADDRESS = {
  fallback: `unix:${resolve(SOCKET)}`,
  varies: `unix:, ${SOCKET} in the working directory`,
};

/** Transport settings that node and agent share. */
export const TLS_SETTINGS = {
  tlsCert: { env: 'DPD_TLS_CERT', help: 'own certificate, PEM file', fallback: '', parse: optional },
  tlsKey: { env: 'DPD_TLS_KEY', help: 'key of the certificate, PEM file', fallback: '', parse: optional },
  tlsCa: { env: 'DPD_TLS_CA', help: "CA of the other side's certificates, PEM file", fallback: '', parse: optional },
  tlsCrl: { env: 'DPD_TLS_CRL', help: 'revoked certificates of the CA, PEM file', fallback: '', parse: optional },
  tlsMin: {
    env: 'DPD_TLS_MIN',
    help: 'lowest version of TLS: 1.2 or 1.3',
    fallback: '1.3',
    parse: oneOf('1.2', '1.3'),
  },
  trustDomain: {
    env: 'DPD_TRUST_DOMAIN',
    help: 'SPIFFE trust domain of the cluster; none: that of the own certificate, if it has one',
    fallback: '',
    parse: (value: string) => (value === '' ? undefined : matching(/^[a-z0-9._-]{1,255}$/, 'a trust domain')(value)),
  },
  allowPlaintext: {
    env: 'DPD_ALLOW_PLAINTEXT',
    help: 'plaintext beyond loopback: IKE keys travel in the clear',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
} as const;
