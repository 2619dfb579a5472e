/** A TCP port of loopback, for programs that cannot be told to take any. */

import { once } from 'node:events';
import { createServer } from 'node:net';

/** One that nothing uses now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
