/** UDP sockets: no name look-up, no allocation per address, large kernel buffers. */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { Address } from '../base/address.ts';
import { openSocket } from './sockets.ts';

/** Wanted of the kernel for each direction of a socket. */
export const UDP_BUFFER_BYTES = 4 * 1024 * 1024;

type Lookup = NonNullable<import('node:dgram').SocketOptions['lookup']>;

/** Addresses need no name look-up. */
const literal: Lookup = (address, _options, callback) => callback(null, address, isIPv6(address) ? 6 : 4);

/**
 * Binds a socket. Rejects with the system's error if the address or port cannot be had.
 * @param bufferBytes wanted of the kernel each way; root gets them, others as much as the system allows
 */
export async function bindUdp(address: string, port: number, bufferBytes = UDP_BUFFER_BYTES): Promise<Socket> {
  const socket = createSocket(
    isIPv6(address) ? { type: 'udp6', ipv6Only: true, lookup: literal } : { type: 'udp4', lookup: literal },
  );
  const opened = openSocket(Address.of(address), port, bufferBytes);
  // With a look-up that answers at once, the socket may listen before bind() returns.
  const listening = once(socket, 'listening');
  socket.bind(opened ? { fd: opened.fd } : { address, port, exclusive: true });
  await listening;
  if (!opened) {
    socket.setRecvBufferSize(bufferBytes);
    socket.setSendBufferSize(bufferBytes);
  }
  return socket;
}
