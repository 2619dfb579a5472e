/** Settings of the transport, for whoever serves or calls the API. */

import { flag, optional } from '../base/settings.ts';

/** Transport settings that node and agent share. */
export const TLS_SETTINGS = {
  tlsCert: { env: 'DPD_TLS_CERT', help: 'own certificate, PEM file', fallback: '', parse: optional },
  tlsKey: { env: 'DPD_TLS_KEY', help: 'key of the certificate, PEM file', fallback: '', parse: optional },
  tlsCa: { env: 'DPD_TLS_CA', help: "CA of the other side's certificates, PEM file", fallback: '', parse: optional },
  allowPlaintext: {
    env: 'DPD_ALLOW_PLAINTEXT',
    help: 'plaintext beyond loopback: IKE keys travel in the clear',
    fallback: 'false',
    boolean: true,
    parse: flag,
  },
} as const;
