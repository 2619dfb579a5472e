/** A gRPC server with reflection, health and a deadline on its end. */

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { logVerbosity, Server, ServerCredentials, type ServerInterceptor, setLogVerbosity } from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { SettingsError } from '../../../workers/base/errors.ts';
import { TlsServerCredentials } from './credentials.ts';
import type { TlsFiles } from './tls-files.ts';

const DESCRIPTORS = new URL('../../../proto/gen/descriptors.binpb', import.meta.url);
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const SHUTDOWN_MS = 2_000;
/** A connection without calls is closed after this, ms. */
const IDLE_MS = 300_000;
// Errors that it would print reach the callers anyway.
setLogVerbosity(logVerbosity.NONE);

export type RunningServer = {
  readonly server: Server;
  readonly health: HealthImplementation;
  /** Port bound, or 0 on a unix socket. */
  readonly port: number;
  /** Ends the server: at once for new calls, within 2 s for the calls under way. */
  stop(): Promise<void>;
};

/**
 * Starts a server. Rejects with SettingsError if the address cannot be bound.
 * @param tls undefined: plaintext
 * @param admission is passed by every call
 * @param register adds the services
 * @param renewed is called when certificates were read again, or could not be
 */
export async function startServer(
  address: string,
  tls: TlsFiles | undefined,
  admission: ServerInterceptor,
  register: (server: Server) => void,
  renewed: (failure?: Error) => void,
): Promise<RunningServer> {
  const tlsCredentials = tls && new TlsServerCredentials(tls);
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.max_connection_idle_ms': IDLE_MS,
    interceptors: [admission],
  });
  const health = new HealthImplementation({ '': 'SERVING' });
  health.addToServer(server);
  new ReflectionService(loadFileDescriptorSetFromBuffer(readFileSync(DESCRIPTORS))).addToServer(server);
  register(server);
  const socket = address.startsWith('unix:') ? address.slice('unix:'.length) : undefined;
  if (socket) {
    makeFolder(address, dirname(socket));
    await removeStaleSocket(socket);
  }
  const credentials = tlsCredentials ?? ServerCredentials.createInsecure();
  // Every process that may connect to the socket may read keys, so only its owner may, from its first moment on.
  const umask = process.umask(0o177);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(address, credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  )
    .catch((error: Error) => {
      const [, why = error.message] = /errors: \[(.*)\]$/.exec(error.message) ?? [];
      throw new SettingsError(`address ${address}: ${why}`);
    })
    .finally(() => process.umask(umask));
  const unwatch = tls?.watch((failure) => {
    if (!failure) tlsCredentials!.renew(tls);
    renewed(failure);
  });
  return {
    server,
    health,
    port,
    stop: () =>
      new Promise((resolve) => {
        unwatch?.();
        health.setStatus('', 'NOT_SERVING');
        const force = setTimeout(() => server.forceShutdown(), SHUTDOWN_MS);
        server.tryShutdown(() => {
          clearTimeout(force);
          resolve();
        });
      }),
  };
}

/** Throws SettingsError. */
function makeFolder(address: string, folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new SettingsError(`address ${address}: ${(error as Error).message}`);
  }
}

/** Removes a socket file that a killed process left behind. If the socket answers, it belongs to a running process. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
  if (!answered) rmSync(path, { force: true });
}
