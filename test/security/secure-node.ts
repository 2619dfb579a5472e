/** A node that serves by TLS, in this process. */

import { join } from 'node:path';
import type { TransportSettings } from '../../services/api/grpc/credentials.ts';
import { createLogger } from '../../services/base/log.ts';
import { readSettings } from '../../services/base/settings.ts';
import { DpdNode } from '../../services/node/node.ts';
import { NODE_SETTINGS } from '../../services/node/settings.ts';
import type { Pki } from './pki.ts';

export type SecureNode = {
  readonly node: DpdNode;
  readonly address: string;
  /** How the holder of a certificate talks to it. */
  as(file: string): TransportSettings;
};

/** Starts it with the certificate `node.pem`. @param flags besides those of TLS */
export async function startSecureNode(pki: Pki, ...flags: readonly string[]): Promise<SecureNode> {
  const argv = ['--address', 'localhost:0', '--data-dir', join(pki.directory, 'data'), '--threads', '1'];
  const tls = ['--tls-cert', pki.path('node.pem'), '--tls-key', pki.path('node.key'), '--tls-ca', pki.path('ca.pem')];
  const settings = readSettings('', NODE_SETTINGS, {
    argv: [...argv, ...tls, '--probe-port-base', '0', ...flags],
    env: {},
  });
  const node = await DpdNode.start(settings, createLogger('test', 'silent'));
  const address = `127.0.0.1:${node.port}`;
  return { node, address, as: (file) => pki.transport(file, address) };
}
